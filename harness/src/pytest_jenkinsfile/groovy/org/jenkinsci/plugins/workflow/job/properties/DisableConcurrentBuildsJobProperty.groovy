package org.jenkinsci.plugins.workflow.job.properties

import jenkins.model.CauseOfInterruption

/** Holder of the cause that `disableConcurrentBuilds(abortPrevious: true)` gives. */
class DisableConcurrentBuildsJobProperty {
    static class CancelledCause extends CauseOfInterruption { }
}
