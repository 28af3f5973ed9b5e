package jenkins.branch

import hudson.model.Cause

/** The cause of a build by branch indexing. */
class BranchIndexingCause extends Cause { }
