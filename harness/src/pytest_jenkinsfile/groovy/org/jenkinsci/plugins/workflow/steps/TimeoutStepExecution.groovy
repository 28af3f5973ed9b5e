package org.jenkinsci.plugins.workflow.steps

import jenkins.model.CauseOfInterruption

/** Contains the cause of an interruption by `timeout`. */
class TimeoutStepExecution {
    static class ExceededTimeout extends CauseOfInterruption { }
}
