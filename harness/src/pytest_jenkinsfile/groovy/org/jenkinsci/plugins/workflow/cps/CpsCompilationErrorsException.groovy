package org.jenkinsci.plugins.workflow.cps

/** A script that was loaded at run time does not compile. */
class CpsCompilationErrorsException extends RuntimeException {
    CpsCompilationErrorsException(String message) { super(message) }
}
