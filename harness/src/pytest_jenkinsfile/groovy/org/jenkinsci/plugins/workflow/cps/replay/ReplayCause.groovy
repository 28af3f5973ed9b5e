package org.jenkinsci.plugins.workflow.cps.replay

import hudson.model.Cause

/** The cause of a replayed build. */
class ReplayCause extends Cause { }
