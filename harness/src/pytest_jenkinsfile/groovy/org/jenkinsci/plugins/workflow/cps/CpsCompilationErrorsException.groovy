package org.jenkinsci.plugins.workflow.cps

/** A script that was read while the build ran does not compile. */
class CpsCompilationErrorsException extends RuntimeException {
    CpsCompilationErrorsException(String message) { super(message) }
}
