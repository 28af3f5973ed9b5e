package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS

/** Why a build or a step ended: an error, a timeout, a rejection, an abort, or a newer build. */
class BuildFailure implements Serializable {
    private final Throwable cause

    BuildFailure(Throwable cause) {
        this.cause = cause
    }

    /** Whether a person or a newer build ends this build, in contrast to a failed step or a timeout. */
    @NonCPS
    boolean isAbort() {
        return isInterruption() && (!cause.respondsTo('isActualInterruption') || cause.actualInterruption)
    }

    /** How a build was interrupted, by the class of the cause: `kind`, `message` and for a rejection `by`. Null for an error. */
    @NonCPS
    Map interruption() {
        if (!isInterruption()) {
            return null
        }
        Object first = cause.causes ? cause.causes[0] : null
        String type = first == null ? '' : first.class.name
        String message = first?.shortDescription ?: 'interrupted'
        if (type.endsWith('Rejection')) {
            String by = first.respondsTo('getUser') ? first.user?.id : null
            return [kind: 'rejected', message: message, by: by ?: (message - 'Rejected by ').trim()]
        }
        if (type.endsWith('ExceededTimeout')) {
            return [kind: 'timed out', message: message]
        }
        return [kind: type.endsWith('CancelledCause') ? 'superseded' : 'aborted', message: message]
    }

    /** The reason in one line. */
    @NonCPS
    String reason() {
        Map interruption = interruption()
        if (interruption) {
            return "${interruption.kind}: ${interruption.message}".toString()
        }
        String message = cause.message?.trim()
        return message ? message.readLines()[0] : cause.class.simpleName
    }

    /** The result of a build that ends with this. */
    @NonCPS
    String result() {
        return isInterruption() ? cause.result.toString() : 'FAILURE'
    }

    @NonCPS
    private boolean isInterruption() {
        return cause.class.name.endsWith('FlowInterruptedException')
    }
}
