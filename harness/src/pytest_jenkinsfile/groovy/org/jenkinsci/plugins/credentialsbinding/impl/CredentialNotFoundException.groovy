package org.jenkinsci.plugins.credentialsbinding.impl

import hudson.AbortException

/** No credential has this id. */
class CredentialNotFoundException extends AbortException {
    CredentialNotFoundException(String message) { super(message) }
}
