package jenkins.branch

import hudson.model.Cause

/** Indexing found the branch. */
class BranchIndexingCause extends Cause { }
