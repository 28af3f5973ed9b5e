package hudson.model

/** A user of Jenkins. */
class User implements Serializable {
    final String id

    User(String id) { this.id = id }

    String getFullName() { id }

    String getDisplayName() { id }

    @Override
    String toString() { id }
}
