package hudson.model

/** The results of a build, best first. */
enum Result {
    SUCCESS, UNSTABLE, FAILURE, NOT_BUILT, ABORTED

    /** The result of a name in any case; FAILURE for an unknown name. */
    static Result fromString(String name) {
        Objects.requireNonNull(name, 'Cannot invoke "String.equalsIgnoreCase(String)" because "s" is null')
        values().find { it.name().equalsIgnoreCase(name) } ?: FAILURE
    }

    boolean isWorseThan(Result other) { ordinal() > other.ordinal() }

    boolean isWorseOrEqualTo(Result other) { ordinal() >= other.ordinal() }

    boolean isBetterThan(Result other) { ordinal() < other.ordinal() }

    boolean isBetterOrEqualTo(Result other) { ordinal() <= other.ordinal() }

    Result combine(Result other) { other == null || isWorseThan(other) ? this : other }
}
