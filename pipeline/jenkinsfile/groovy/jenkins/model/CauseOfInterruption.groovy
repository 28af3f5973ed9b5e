package jenkins.model

/** Why a build was interrupted. */
class CauseOfInterruption implements Serializable {
    String shortDescription

    static class UserInterruption extends CauseOfInterruption {
        String user
    }
}
