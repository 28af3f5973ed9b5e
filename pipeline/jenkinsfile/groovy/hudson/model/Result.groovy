package hudson.model

/** The results of a build, best first. */
enum Result {
    SUCCESS, UNSTABLE, FAILURE, NOT_BUILT, ABORTED

    boolean isWorseThan(Result other) { ordinal() > other.ordinal() }

    boolean isWorseOrEqualTo(Result other) { ordinal() >= other.ordinal() }

    boolean isBetterOrEqualTo(Result other) { ordinal() <= other.ordinal() }

    Result combine(Result other) { other == null || isWorseThan(other) ? this : other }
}
