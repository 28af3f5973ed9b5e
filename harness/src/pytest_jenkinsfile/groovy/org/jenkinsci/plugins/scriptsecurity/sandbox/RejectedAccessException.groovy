package org.jenkinsci.plugins.scriptsecurity.sandbox

/** The sandbox refused a call. */
class RejectedAccessException extends SecurityException {
    RejectedAccessException(String signature) { super("Scripts not permitted to use ${signature}") }
}
