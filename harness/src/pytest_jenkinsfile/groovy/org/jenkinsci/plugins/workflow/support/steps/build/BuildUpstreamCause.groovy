package org.jenkinsci.plugins.workflow.support.steps.build

import hudson.model.Cause

/** The cause of a build that another build started. */
class BuildUpstreamCause extends Cause.UpstreamCause { }
