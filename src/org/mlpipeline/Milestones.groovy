package org.mlpipeline

/** Ends older builds of a job when a newer one passes them. */
class Milestones implements Serializable {
    private final String onlyNewest = 'newest only'
    private final Object steps

    Milestones(Object steps) {
        this.steps = steps
    }

    /** Ends older builds of this branch that still run. Once in a build. */
    void endOlderBuilds() {
        int number = new BuildInfo(steps).number()
        if (!new BuildState(steps).markDone(onlyNewest)) {
            return
        }
        if (number > 1) {
            pass(number - 1)
        }
        pass(number)
    }

    boolean hasEndedOlderBuilds() {
        return new BuildState(steps).isDone(onlyNewest)
    }

    /** Passes a milestone. Jenkins has none inside parallel; there approve and promote refuse a version that is superseded. */
    void pass(int ordinal) {
        try {
            steps.milestone(ordinal: ordinal)
        } catch (Exception refused) {
            if (!refused.message?.contains('inside parallel')) {
                throw refused
            }
            steps.echo('mlPipeline: Jenkins has no milestones inside parallel: older builds go on; approve and promote refuse a version that is superseded')
        }
    }
}
