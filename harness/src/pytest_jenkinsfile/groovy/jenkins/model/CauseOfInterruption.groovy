package jenkins.model

import hudson.model.User

/** Why a build was interrupted. */
class CauseOfInterruption implements Serializable {
    String shortDescription

    static class UserInterruption extends CauseOfInterruption {
        String userId

        User getUser() { new User(userId) }
    }
}
