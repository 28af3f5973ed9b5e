package org.eclipse.angus.mail.util

/** No connection to a mail server. */
class MailConnectException extends Exception {
    MailConnectException(String message) { super(message) }
}
