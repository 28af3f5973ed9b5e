package jenkins.branch

import hudson.model.Cause

/** A push started the build. */
class BranchEventCause extends Cause { }
