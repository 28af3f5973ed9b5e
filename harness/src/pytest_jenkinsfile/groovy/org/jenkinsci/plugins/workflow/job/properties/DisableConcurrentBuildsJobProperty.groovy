package org.jenkinsci.plugins.workflow.job.properties

import jenkins.model.CauseOfInterruption

/** Contains the cause of an abort by `disableConcurrentBuilds(abortPrevious: true)`. */
class DisableConcurrentBuildsJobProperty {
    static class CancelledCause extends CauseOfInterruption { }
}
