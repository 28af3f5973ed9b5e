package hudson

import groovy.transform.CompileStatic

/** The exception of `error` and of most failing steps. */
@CompileStatic
class AbortException extends IOException {
    AbortException(String message) { super(message) }
}
