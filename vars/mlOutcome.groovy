// What a build says about itself: its description, and how it ended. Not meant to be called from a Jenkinsfile.

/**
 * Adds a line to the build's description. kind: 'failure' of a stage (the first one stays, until its stage passes or fails
 * again), 'end' (what ended the build, where no failure is known), 'production' (what was changed there), 'model' (what is
 * known of the new model), 'other' (what any other stage said, shown where nothing else is), 'left' (what is left out, last).
 */
void describe(Map arguments, String kind, String text, String stage = null) {
    mlRun.describe(mlLibrary.project(arguments), kind, text, stage)
}

/** Ends the build with a message that its description keeps. */
void fail(Map arguments, String message, String stage = null) {
    describe(arguments, 'failure', message, stage)
    error(message)
}

/** Runs a body; if it ends badly the description says of what and why, unless it names an earlier failure. */
Object named(String title, Map arguments, Closure body) {
    try {
        return body()
    } catch (Throwable fault) {
        describe(arguments, 'end', title ? "${title}: ${reason(fault)}" : reason(fault), title)
        throw fault
    }
}

/** Runs what only tells people something: whatever it ends with, the build and its result go on. */
void telling(String what, Closure body) {
    try {
        body()
    } catch (Throwable fault) {
        if (isInterrupted(fault)) {
            throw fault
        }
        echo "${what} failed: ${reason(fault)}; the result of the build stays as it is"
    }
}

/** The description of a build, of what is known of each of its projects. */
@NonCPS
String description(Map projects) {
    Map lines = projects.collectEntries { name, known -> [name, line(known.lines ?: [:])] }.findAll { name, text -> text }
    if (lines.size() < 2) {
        return lines ? lines.values().first() : null
    }
    List names = lines.keySet().sort()
    List order = names.findAll { projects[it].lines.failure } + names.findAll { !projects[it].lines.failure }
    return order.collect { "${it == '.' ? 'workspace' : it}: ${lines[it]}" }.join('; ')
}

/** Whether a person or a newer build ends this build, as against a step that failed or a limit of time. */
@NonCPS
boolean isInterrupted(Throwable fault) {
    return isInterruption(fault) && (!fault.respondsTo('isActualInterruption') || fault.actualInterruption)
}

/** How a build was ended from outside, told apart by the class of the cause; null for any other fault. */
@NonCPS
Map ending(Throwable fault) {
    if (!isInterruption(fault)) {
        return null
    }
    Object cause = fault.causes ? fault.causes[0] : null
    String kind = cause == null ? '' : cause.class.name
    String told = cause?.shortDescription ?: 'interrupted'
    if (kind.endsWith('Rejection')) {
        String by = cause.respondsTo('getUser') ? cause.user?.id : null
        return [how: 'rejected', told: told, by: by ?: (told - 'Rejected by ').trim()]
    }
    if (kind.endsWith('ExceededTimeout')) {
        return [how: 'timed out', told: told]
    }
    return [how: kind.endsWith('CancelledCause') ? 'superseded' : 'aborted', told: told]
}

/** Why something ended so, in one line. */
@NonCPS
String reason(Throwable fault) {
    Map end = ending(fault)
    if (end) {
        return "${end.how}: ${end.told}".toString()
    }
    String message = fault.message?.trim()
    return message ? message.readLines()[0] : fault.class.simpleName
}

/** The result that a build has which ends so. */
@NonCPS
String resultOf(Throwable fault) {
    return isInterruption(fault) ? fault.result.toString() : 'FAILURE'
}

// --- plain functions -------------------------------------------------------------------------------

@NonCPS
private boolean isInterruption(Throwable fault) {
    return fault.class.name.endsWith('FlowInterruptedException')
}

@NonCPS
private String line(Map lines) {
    List told = lines.failure ? [lines.failure, lines.production] : [lines.production ?: lines.model ?: lines.other]
    return (told + lines.left).findAll().join('; ') ?: null
}
