package org.jenkinsci.plugins.workflow.support.steps.input

import jenkins.model.CauseOfInterruption

/** The cause when somebody says no at a prompt. */
class Rejection extends CauseOfInterruption {
    String userName
}
