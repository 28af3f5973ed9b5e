package org.jenkinsci.plugins.workflow.steps

import hudson.model.Result
import jenkins.model.CauseOfInterruption

/** A rejection, a timeout, an abort, an overtaken milestone. */
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
