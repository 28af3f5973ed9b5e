package org.jenkinsci.plugins.workflow.cps.steps

import jenkins.model.CauseOfInterruption

/** Holder of the cause that `failFast` gives to the other branches. */
class ParallelStep {
    static class FailFastCause extends CauseOfInterruption { }
}
