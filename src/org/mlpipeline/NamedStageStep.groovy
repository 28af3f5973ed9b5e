package org.mlpipeline

/** The step mlStage: runs a stage by its name, also one that a plug-in of the installed package adds. */
class NamedStageStep implements Serializable {
    private final Object steps

    NamedStageStep(Object steps) {
        this.steps = steps
    }

    Map run(String stage, Map arguments) {
        String json = steps.libraryResource('steps.json')
        StepTable library = new StepTable(json)
        String step = library.stepOf(stage)
        if (step != null) {
            return new StageStep(steps).run(step, arguments, library)
        }
        if (!new PackageCommand(steps).isStageName(stage)) {
            new BuildDescription(steps).fail(arguments, "mlStage: '${stage?.take(60)}' is no name of a stage; expected lower-case letters, digits and -")
        }
        // Its own arguments are checked when the package has listed them.
        Map common = arguments.subMap(library.step('mlStage').arguments.keySet())
        Map agent = new StepArguments(steps).accept('mlStage', common, library).arguments.agent ?: [:]
        if (steps.env.ML_AGENT) {
            return runInstalled(stage, arguments, json)
        }
        Map result = null
        new AgentStep(steps).run(agent, arguments) {
            result = runInstalled(stage, arguments, json)
        }
        return result
    }

    /** Runs a stage that is not in the library's table, by the record in the package on this agent. */
    private Map runInstalled(String stage, Map arguments, String json) {
        StepTable table = new StepTable(json, new PackageCommand(steps).stages('mlStage', arguments))
        String step = table.stepOf(stage)
        if (step == null) {
            String hint = new NearestName(table.stages()).hint(stage)
            new BuildDescription(steps).fail(arguments, "mlStage: no stage '${stage}' in this library or the package on ${steps.env.NODE_NAME}; ${hint}")
        }
        return new StageStep(steps).run(step, arguments, table)
    }
}
