package hudson

/** What `error` and most failing steps throw. */
class AbortException extends IOException {
    AbortException(String message) { super(message) }
}
