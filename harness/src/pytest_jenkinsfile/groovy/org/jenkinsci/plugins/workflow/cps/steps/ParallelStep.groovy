package org.jenkinsci.plugins.workflow.cps.steps

import jenkins.model.CauseOfInterruption

/** Contains the cause of an interruption by `failFast`. */
class ParallelStep {
    static class FailFastCause extends CauseOfInterruption { }
}
