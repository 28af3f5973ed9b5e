package org.eclipse.angus.mail.util

/** No mail server answers. */
class MailConnectException extends Exception {
    MailConnectException(String message) { super(message) }
}
