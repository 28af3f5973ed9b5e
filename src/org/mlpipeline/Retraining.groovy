package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS

/** The delivery that a monitor starts to train the model again: one at a time, and none within the cool-down. */
class Retraining implements Serializable {
    private final Object steps
    private final String job

    /** `job` is the name of the job that delivers, seen from the folder of this build's job. */
    Retraining(Object steps, String job) {
        this.steps = steps
        this.job = job
    }

    /** Starts a build with the parameter CAUSE, if none is under way or recent, and returns what was done in words. */
    String start(String cause, Object coolDownDays) {
        String obstacle = obstacle(coolDownDays)
        if (obstacle) {
            return "no retraining was started: ${obstacle}"
        }
        steps.build(job: job, wait: false, parameters: [steps.string(name: 'CAUSE', value: cause)])
        steps.env.ML_RETRAIN_STARTED = job // later builds of this job read it
        return "${job} was started"
    }

    private String obstacle(Object coolDownDays) {
        BuildInfo info = new BuildInfo(steps)
        String repetition = info.repetition()
        if (repetition) {
            return "this build was ${repetition}; start a new build of ${info.job()}"
        }
        String unfinished = new SiblingJobs(steps).unfinished(job)
        if (unfinished) {
            return "the one of ${job} that this job started before ${unfinished}"
        }
        return recent(coolDownDays)
    }

    /** The build of this job that started a retraining within the cool-down, or null. */
    @NonCPS
    private String recent(Object coolDownDays) {
        long coolDown = (coolDownDays ?: 0) * 86_400_000 as long
        long now = steps.currentBuild.startTimeInMillis
        Object build = steps.currentBuild.previousBuild
        while (build != null && build.startTimeInMillis + coolDown > now) {
            if (build.buildVariables.ML_RETRAIN_STARTED == job) {
                String end = new Date(build.startTimeInMillis + coolDown).format('yyyy-MM-dd HH:mm', TimeZone.getTimeZone('UTC'))
                return "build #${build.number} started one, and monitor.cool_down_days is ${coolDownDays}: none before ${end} UTC".toString()
            }
            build = build.previousBuild
        }
        return null
    }
}
