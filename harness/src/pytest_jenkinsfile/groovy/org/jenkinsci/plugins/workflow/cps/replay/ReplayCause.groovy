package org.jenkinsci.plugins.workflow.cps.replay

import hudson.model.Cause

/** A build was replayed. */
class ReplayCause extends Cause { }
