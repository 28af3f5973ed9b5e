package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS
import groovy.json.JsonOutput
import groovy.json.JsonSlurperClassic

/** Whether there is anything to train: what `ml-pipeline plan --json` says on an agent. */
class TrainingPlan implements Serializable {
    private final String schema = 'ml-pipeline/plan/1'
    private final String arguments = 'build/ml/args/plan.json'
    private final String errors = 'build/ml/args/plan.error'
    private final String output = 'build/ml/plan.json'
    private final List<Integer> pauses = [10, 30, 90]
    private final Object steps

    TrainingPlan(Object steps) {
        this.steps = steps
    }

    /** Reads the plan of the project of these arguments of mlPipeline: `train`, `why` and `cause`. Fails the build without one. */
    Map read(Map config) {
        Map plan = null
        new AgentStep(steps).run(new AgentArguments().of(config), config) {
            steps.dir(new ProjectFolder(steps).of(config)) { plan = readHere(config) }
        }
        return plan
    }

    private Map readHere(Map config) {
        List credentials = new StepArguments(steps).credentialsOf('plan', config)
        steps.writeFile(file: arguments, text: flags(config), encoding: 'UTF-8')
        int attempt = 0
        while (true) {
            int code = new CredentialBindings(steps).around(credentials) { new PackageCommand(steps).plan() }
            if (code != 3 || attempt >= pauses.size()) {
                return requirePlan(code, config)
            }
            steps.echo("plan: the environment failed, ${errorLine()}; trying again in ${pauses[attempt]} s (${attempt + 1} of ${pauses.size()})")
            steps.sleep(time: pauses[attempt], unit: 'SECONDS')
            attempt++
        }
    }

    private Map requirePlan(int code, Map config) {
        Map plan = code == 0 ? parsed(steps.readFile(file: output, encoding: 'UTF-8')) : null
        if (plan == null) {
            String reason = code == 0 ? 'printed no plan that this library reads' : "ended with exit code ${code}: ${errorLine()}"
            new BuildDescription(steps).fail(config, "plan: ml-pipeline plan ${reason}", 'plan')
        }
        return plan
    }

    private String errorLine() {
        return steps.fileExists(errors) ? steps.readFile(file: errors, encoding: 'UTF-8').trim() : 'see the lines above'
    }

    @NonCPS
    private String flags(Map config) {
        return JsonOutput.toJson([project: '.', json: true] + config.subMap(['policy', 'set']))
    }

    @NonCPS
    private Map parsed(String text) {
        Map plan
        try {
            plan = new JsonSlurperClassic().parseText(text) as Map
        } catch (Exception unreadable) {
            return null
        }
        boolean isComplete = plan.schema == schema && plan.train instanceof Boolean && plan.why instanceof String
        return isComplete ? [train: plan.train, why: plan.why, cause: plan.cause ?: ''] : null
    }
}
