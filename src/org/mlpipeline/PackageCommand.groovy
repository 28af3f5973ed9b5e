package org.mlpipeline

/** The command ml-pipeline of this agent. Its command lines have no variable part but the name of a stage: letters, digits and -. */
class PackageCommand implements Serializable {
    private final Object steps

    PackageCommand(Object steps) {
        this.steps = steps
    }

    /** Runs a stage with the flags of a file and returns the exit code. */
    int runStage(String stage, String argumentsFile) {
        return steps.withEnv(new ConfiguredVariables(steps).overrides()) {
            steps.sh(returnStatus: true, label: "ml-pipeline ${stage}", script: "${command()} ${stage} --args ${argumentsFile}")
        }
    }

    /** The stages of the installed package and its plug-ins, as JSON; fails the build if it lists none. */
    String stages(Map arguments) {
        String json = steps.withEnv(new ConfiguredVariables(steps).overrides()) {
            steps.sh(returnStdout: true, label: 'ml-pipeline stages', script: "${command()} stages --json || true")
        }
        if (!json?.trim()) {
            new BuildDescription(steps).fail(arguments, 'mlStage: ml-pipeline stages --json failed on this agent, see the lines above')
        }
        return json
    }

    private String command() {
        boolean hasFolder = steps.env.ML_PIPELINE_BIN && steps.env.ML_PIPELINE_BIN != '-' // '-': the command is on PATH
        return hasFolder ? 'PATH="$ML_PIPELINE_BIN:$PATH" ml-pipeline' : 'ml-pipeline'
    }
}
