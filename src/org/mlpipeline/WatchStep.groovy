package org.mlpipeline

/** The step mlWatch: watches production after a promotion and holds no node between two looks. */
class WatchStep implements Serializable {
    private final String name = 'mlWatch'
    private final Object steps

    WatchStep(Object steps) {
        this.steps = steps
    }

    Map run(Map arguments) {
        BuildInfo info = new BuildInfo(steps)
        String repetition = info.repetition()
        if (repetition && !promotion(arguments)) {
            String message = "${name}: this build was ${repetition} and promoted nothing that it could watch or roll back; start a new build of ${info.job()}"
            new BuildDescription(steps).fail(arguments, message)
        }
        Map result = new StageStep(steps).run(name, arguments)
        while (result.waits) {
            steps.sleep(time: Math.max(5, Math.min(60, result.secondsLeft as int)), unit: 'SECONDS')
            result = new StageStep(steps).run(name, arguments)
        }
        return result
    }

    /** Whether this build promoted a version, or checked production. */
    boolean due(Map arguments) {
        Map promotion = promotion(arguments)
        return !new BuildInfo(steps).skipsPromotion(name, arguments) && promotion != null && promotion.passed && !promotion.skipped
    }

    private Map promotion(Map arguments) {
        String promote = new StepTable(steps.libraryResource('steps.json')).step(name).follows
        return new BuildState(steps).result(promote, arguments)
    }
}
