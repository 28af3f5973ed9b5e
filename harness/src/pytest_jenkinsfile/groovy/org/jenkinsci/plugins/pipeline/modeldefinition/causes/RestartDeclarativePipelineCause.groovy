package org.jenkinsci.plugins.pipeline.modeldefinition.causes

import hudson.model.Cause

/** A build was restarted at a stage. */
class RestartDeclarativePipelineCause extends Cause { }
