package org.jenkinsci.plugins.workflow.support.steps.input

import hudson.model.User
import jenkins.model.CauseOfInterruption

/** The cause when a user rejects a prompt. */
class Rejection extends CauseOfInterruption {
    String userName

    User getUser() { new User(userName) }
}
