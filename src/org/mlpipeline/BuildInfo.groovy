package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS
import hudson.model.Cause
import hudson.model.TaskListener
import hudson.triggers.TimerTrigger

/** Which build this is, read from where no parameter of the job reaches. */
class BuildInfo implements Serializable {
    private final Object steps

    BuildInfo(Object steps) {
        this.steps = steps
    }

    /** The job's full name, such as `nepse/main`. */
    String job() {
        return steps.currentBuild.fullProjectName
    }

    int number() {
        return steps.currentBuild.number
    }

    /** This build's address, ending in /; '' where Jenkins has no root URL. */
    String url() {
        try {
            return steps.currentBuild.absoluteUrl ?: ''
        } catch (IllegalStateException noRootUrl) {
            return ''
        }
    }

    /** Job and number: the state of a build is bound to it. */
    String id() {
        return "${job()}#${number()}".toString()
    }

    /** The name of this build in reports: it has letters, digits and - only, whatever the job is called. */
    String runId() {
        return "jenkins-${new Digest().of("${job()} ${url()}").take(12)}-${number()}".toString()
    }

    /** The branch, tag and change request (pull request) that the job was created for; null where it has none. */
    @NonCPS
    Map revision() {
        Map variables = steps.currentBuild.rawBuild.parent.getEnvironment(null, TaskListener.NULL)
        return [branch: variables.BRANCH_NAME ?: null, tag: variables.TAG_NAME ?: null, change: variables.CHANGE_ID ?: null]
    }

    /** 'replayed' or 'restarted at a stage' for a build that never promotes; else null. */
    String repetition() {
        return kindOfRepetition(steps.currentBuild.getBuildCauses())
    }

    boolean isRestartedAtStage() {
        return repetition() == 'restarted at a stage'
    }

    /** Writes to log and description that a replayed or restarted build does not promote; returns whether this is one. */
    boolean skipsPromotion(String step, Map arguments = [:]) {
        String repetition = repetition()
        if (repetition) {
            String message = "not promoted: this build was ${repetition}; start a new build of ${job()}"
            if (new BuildState(steps).markDone("${new ProjectFolder(steps).of(arguments)} ${message}")) {
                steps.echo("${step}: ${message}")
                new BuildDescription(steps).add(arguments, 'skipped', message)
            }
        }
        return repetition != null
    }

    /** The text of the parameter CAUSE in one line; '' without one. It is there, too, where the job does not declare the parameter yet. */
    String cause() {
        return (steps.params.CAUSE ?: '').toString().replaceAll('\\s+', ' ').trim()
    }

    /** Whether timers alone started this build, be it through builds of other jobs. */
    @NonCPS
    boolean isScheduled() {
        return areTimers(steps.currentBuild.rawBuild.causes)
    }

    @NonCPS
    private boolean areTimers(Object causes) {
        return causes && causes.every { cause ->
            cause instanceof Cause.UpstreamCause ? areTimers(cause.upstreamCauses) : cause instanceof TimerTrigger.TimerTriggerCause
        }
    }

    @NonCPS
    private String kindOfRepetition(Object causes) {
        for (Object cause in causes) {
            String kind = cause._class
            if (kind.endsWith('.ReplayCause')) {
                return 'replayed'
            }
            if (kind.contains('RestartDeclarativePipelineCause')) {
                return 'restarted at a stage'
            }
        }
        return null
    }
}
