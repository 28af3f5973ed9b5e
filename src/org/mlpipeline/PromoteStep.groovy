package org.mlpipeline

/** The step mlPromote: makes the approved version the champion in production. */
class PromoteStep implements Serializable {
    private final String name = 'mlPromote'
    private final Object steps

    PromoteStep(Object steps) {
        this.steps = steps
    }

    Map run(Map arguments) {
        String repetition = new BuildInfo(steps).repetition()
        if (repetition) {
            new BuildDescription(steps).fail(arguments, "${name}: this build was ${repetition}, and such a build never promotes; start a new one")
        }
        return new StageStep(steps).run(name, arguments)
    }

    /** Whether this build has an approval to act on, or no new version, so that production is only checked. */
    boolean due(Map arguments) {
        StepTable table = new StepTable(steps.libraryResource('steps.json'))
        String approve = table.step(name).follows
        BuildState state = new BuildState(steps)
        Map approval = state.result(approve, arguments)
        boolean approved = approval != null && approval.passed && !approval.skipped
        return !new BuildInfo(steps).skipsPromotion(name, arguments) && (approved || state.result(table.follows(approve), arguments)?.nothingToPromote)
    }
}
