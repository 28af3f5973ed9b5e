package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS

/** The command ml-pipeline of this agent. Its command lines have no variable part but the name of a stage. */
class PackageCommand implements Serializable {
    private final Object steps

    PackageCommand(Object steps) {
        this.steps = steps
    }

    /** Runs a stage with the flags of a file and returns the exit code. */
    int runStage(String stage, String argumentsFile) {
        if (!isStageName(stage)) {
            steps.error("'${stage}' is no name of a stage; expected lower-case letters, digits and -")
            return 2
        }
        return steps.withEnv(new ConfiguredVariables(steps).overrides()) {
            steps.sh(returnStatus: true, label: "ml-pipeline ${stage}", script: "${command()} ${stage} --args ${argumentsFile}")
        }
    }

    /** The stages of the installed package and its plug-ins, as JSON; fails the build of `step` if the command lists none. */
    String stages(String step, Map arguments) {
        String json = null
        steps.dir(new ProjectFolder(steps).of(arguments)) {
            steps.withEnv(new ConfiguredVariables(steps).overrides()) {
                json = steps.sh(returnStdout: true, label: 'ml-pipeline stages', script: "${command()} stages --json || true")
            }
        }
        if (!json?.trim()) {
            new BuildDescription(steps).fail(arguments, "${step}: ml-pipeline stages --json failed on this agent, see the lines above")
        }
        return json
    }

    /** Writes the plan of a training to build/ml/plan.json, with the flags of build/ml/args/plan.json, and returns the exit code. */
    int plan() {
        return steps.withEnv(new ConfiguredVariables(steps).overrides()) {
            steps.sh(returnStatus: true, label: 'ml-pipeline plan', script: "${command()} plan --args build/ml/args/plan.json > build/ml/plan.json")
        }
    }

    /** Whether a shell reads the name as one word; those of plug-ins come from the agent. */
    @NonCPS
    boolean isStageName(String name) {
        return name ==~ '[a-z][a-z0-9]*(-[a-z0-9]+)*'
    }

    private String command() {
        boolean hasFolder = steps.env.ML_PIPELINE_BIN && steps.env.ML_PIPELINE_BIN != '-' // '-': the command is on PATH
        return hasFolder ? 'PATH="$ML_PIPELINE_BIN:$PATH" ml-pipeline' : 'ml-pipeline'
    }
}
