package hudson.util

/** The value of a password parameter; as text it is in clear. */
class Secret implements Serializable {
    private final String value

    Secret(String value) { this.value = value }

    String getPlainText() { value }

    @Override
    String toString() { value }

    static String toString(Secret secret) { secret?.value }
}
