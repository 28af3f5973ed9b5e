package org.jenkinsci.plugins.workflow.support.steps.build

import jenkins.model.CauseOfInterruption

/** The cause when `build` fails because the downstream build failed. */
class DownstreamFailureCause extends CauseOfInterruption { }
