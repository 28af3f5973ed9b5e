package jenkins.branch

import hudson.model.Cause

/** The cause of a build by a push. */
class BranchEventCause extends Cause { }
