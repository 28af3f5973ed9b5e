package org.jenkinsci.plugins.credentialsbinding.impl

/** Stands for an error whose message held a secret. */
class MaskedException extends Exception {
    MaskedException(String message) { super(message) }
}
