package org.jenkinsci.plugins.workflow.actions

/** Holder of the mark that Jenkins puts on each error which leaves a step. */
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
