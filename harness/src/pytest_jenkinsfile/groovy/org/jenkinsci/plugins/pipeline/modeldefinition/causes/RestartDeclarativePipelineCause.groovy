package org.jenkinsci.plugins.pipeline.modeldefinition.causes

import hudson.model.Cause

/** The cause of a build that was restarted from a stage. */
class RestartDeclarativePipelineCause extends Cause { }
