package hudson

import groovy.transform.CompileStatic

/** What `error` and most failing steps throw. */
@CompileStatic
class AbortException extends IOException {
    AbortException(String message) { super(message) }
}
