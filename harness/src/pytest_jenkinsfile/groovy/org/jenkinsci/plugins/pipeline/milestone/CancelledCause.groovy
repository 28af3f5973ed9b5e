package org.jenkinsci.plugins.pipeline.milestone

import jenkins.model.CauseOfInterruption

/** The cause when a newer build passed a milestone first. */
class CancelledCause extends CauseOfInterruption { }
