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
        if (!(stage ==~ '[a-z][a-z0-9]*(-[a-z0-9]+)*')) {
            new BuildDescription(steps).fail(arguments, "mlStage: '${stage?.take(60)}' is no name of a stage; expected lower-case letters, digits and -")
        }
        // Its own arguments are checked once the package says what they are.
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

    /** Runs a stage that the library does not know, by what the package on this agent says of it. */
    private Map runInstalled(String stage, Map arguments, String json) {
        StepTable table = null
        steps.dir(new ProjectFolder(steps).of(arguments)) {
            table = new StepTable(json, new PackageCommand(steps).stages(arguments))
        }
        String step = table.stepOf(stage)
        if (step == null) {
            String hint = new NearestName(table.stages()).hint(stage)
            new BuildDescription(steps).fail(arguments, "mlStage: no stage '${stage}' in this library or the package on ${steps.env.ML_AGENT}; ${hint}")
        }
        return new StageStep(steps).run(step, arguments, table)
    }
}
