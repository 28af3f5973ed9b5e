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

    /** The stages of the run `ci` or `cd`, in their order; those of plug-ins behind the stage that they follow. */
    @NonCPS
    List run(String name) {
        Map content = content()
        List ownCd = content.runs.cd*.stage
        List order = content.runs.ci*.stage.findAll { !(it in ownCd) } + ownCd
        List planned = content.plugIns.findResults { facts -> plannedOf(facts, name) }
        return (content.runs[name] + planned).sort { stage ->
            int place = order.indexOf(stage.plugIn ? stage.after : stage.stage)
            String.format('%03d %s', place < 0 ? order.size() : place, stage.plugIn ? stage.stage : '')
        }
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
        content.plugIns = packageStages ? parsed(packageStages).values().findAll { !(it.stage in known) } : []
        for (Map facts in content.plugIns) {
            content.steps[stepOfPlugIn(facts)] = recordOf(facts, content.steps.mlStage.arguments)
            for (String type in facts.credentials) {
                content.credentials[type]?.stages?.add(facts.stage)
            }
        }
        return content
    }

    @NonCPS
    private String stepOfPlugIn(Map facts) {
        return "mlStage('${facts.stage}')".toString()
    }

    /** A plug-in's stage as a run has it, or null: one that follows no stage is in no run, and `ci` has those with flags for it. */
    @NonCPS
    private Map plannedOf(Map facts, String run) {
        boolean isPart = run == 'ci' ? facts.ci != null : facts.phase in ['delivery', 'promotion']
        if (!facts.after || !isPart) {
            return null
        }
        // `ci` ends before a promotion: what a plug-in does there, it does beside the model.
        String phase = run == 'ci' && facts.phase != 'check' ? 'delivery' : facts.phase
        return facts.subMap(['stage', 'after', 'engine', 'engineWith', 'needs']) + [
            step: stepOfPlugIn(facts), plugIn: true, phase: phase, environment: facts.environment ? 'staging' : null,
            waits: false, locks: null, fromPipeline: [], arguments: run == 'ci' ? facts.ci : [:],
        ]
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
