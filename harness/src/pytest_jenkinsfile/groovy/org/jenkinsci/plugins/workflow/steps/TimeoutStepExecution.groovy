package org.jenkinsci.plugins.workflow.steps

import jenkins.model.CauseOfInterruption

/** Holder of the cause that `timeout` gives. */
class TimeoutStepExecution {
    static class ExceededTimeout extends CauseOfInterruption { }
}
