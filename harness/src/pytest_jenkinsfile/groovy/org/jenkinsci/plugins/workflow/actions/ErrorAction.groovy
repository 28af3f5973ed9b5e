package org.jenkinsci.plugins.workflow.actions

/** Contains the marker that Jenkins adds to each error of a step. */
class ErrorAction {
    static class ErrorId extends Exception {
        ErrorId() { super(UUID.randomUUID() as String) }

        @Override
        Throwable fillInStackTrace() { this }
    }

    static void mark(Throwable error) {
        if (!error.suppressed.any { it instanceof ErrorId }) { error.addSuppressed(new ErrorId()) }
    }
}
