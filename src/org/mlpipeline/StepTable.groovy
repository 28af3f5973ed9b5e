package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS
import groovy.json.JsonSlurperClassic

/** The steps, stages, credentials and runs of resources/steps.json, and the stages that an installed package adds to them. */
class StepTable implements Serializable {
    private final String json
    private final String packageStages

    /** `packageStages` is what `ml-pipeline stages --json` printed. */
    StepTable(String json, String packageStages = null) {
        this.json = json
        this.packageStages = packageStages
    }

    /** The version of the package that the library works with, such as '0.1'. */
    @NonCPS
    String contract() {
        return content().contract
    }

    /** The version of the report format. */
    @NonCPS
    String reportSchema() {
        return content().report
    }

    /** The record of a step, or null. */
    @NonCPS
    Map step(String name) {
        return content().steps[name]
    }

    /** The name of the step that runs a stage, or null. */
    @NonCPS
    String stepOf(String stage) {
        return content().steps.find { name, record -> record.stage == stage }?.key
    }

    @NonCPS
    List stages() {
        return content().steps.values()*.stage.findAll()
    }

    /** The stages of the run `ci` or `cd`, in their order. */
    @NonCPS
    List run(String name) {
        return content().runs[name]
    }

    /** The stage whose result the step of this stage acts on, or null. */
    @NonCPS
    String follows(String stage) {
        return content().steps.values().find { it.stage == stage }?.follows
    }

    /** The stage whose record sets a flag. */
    @NonCPS
    String stageWith(String flag) {
        return content().steps.values().find { it[flag] }?.stage
    }

    @NonCPS
    Map credentials() {
        return content().credentials
    }

    @NonCPS
    private Map content() {
        Map content = parsed(json)
        List known = content.steps.values()*.stage
        Map added = packageStages ? parsed(packageStages).findAll { name, facts -> !(name in known) } : [:]
        for (Map facts in added.values()) {
            content.steps["mlStage('${facts.stage}')".toString()] = recordOf(facts, content.steps.mlStage.arguments)
            for (String type in facts.credentials) {
                content.credentials[type]?.stages?.add(facts.stage)
            }
        }
        return content
    }

    /** The record of a stage that has no step of its own: it takes the arguments of mlStage and its flags. */
    @NonCPS
    private Map recordOf(Map facts, Map common) {
        Map environment = facts.environment ? [environment: common.environment + [required: true]] : [:]
        Map others = common.findAll { name, argument -> name != 'environment' }
        return facts + [fixed: [:], describes: 'other', decides: false, commitCheck: false, arguments: environment + facts.arguments + others]
    }

    @NonCPS
    private Map parsed(String text) {
        return new JsonSlurperClassic().parseText(text) as Map
    }
}
