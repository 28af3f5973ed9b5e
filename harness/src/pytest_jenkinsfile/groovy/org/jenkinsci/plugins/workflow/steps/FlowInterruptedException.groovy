package org.jenkinsci.plugins.workflow.steps

import hudson.model.Result
import jenkins.model.CauseOfInterruption

/** The interruption of a build by a rejection, a timeout, an abort or a milestone. */
class FlowInterruptedException extends InterruptedException {
    final Result result
    boolean actualInterruption = true
    private final CauseOfInterruption[] reasons

    FlowInterruptedException(Result result, CauseOfInterruption... reasons) {
        super(reasons*.shortDescription.join(', '))
        this.result = result
        this.reasons = reasons
    }

    List<CauseOfInterruption> getCauses() { Arrays.asList(reasons) }
}
