package org.jenkinsci.plugins.workflow.support.steps.build

import hudson.model.Cause

/** Another build started this one. */
class BuildUpstreamCause extends Cause {
    String upstreamProject
    int upstreamBuild
}
