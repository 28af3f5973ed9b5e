package org.jenkinsci.plugins.credentialsbinding.impl

/** Replaces an error whose message contains a secret. */
class MaskedException extends Exception {
    MaskedException(String message) { super(message) }
}
