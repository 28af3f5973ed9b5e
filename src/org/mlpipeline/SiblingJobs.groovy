package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS
import hudson.model.Cause
import hudson.model.ItemGroup
import hudson.model.Queue

/** Other jobs in the folder of this build's job, by names such as `branches/main`. It returns texts alone. */
class SiblingJobs implements Serializable {
    private final Object steps

    SiblingJobs(Object steps) {
        this.steps = steps
    }

    /** The address of a job; null if there is no such job, or Jenkins has no root URL. */
    @NonCPS
    String url(String path) {
        try {
            return job(path)?.absoluteUrl
        } catch (IllegalStateException noRootUrl) {
            return null
        }
    }

    @NonCPS
    boolean exists(String path) {
        return job(path) != null
    }

    /** What is left of the builds of a job that this build's job started: 'is queued', 'is build #12, which has not ended', or null. */
    @NonCPS
    String unfinished(String path) {
        Object job = job(path)
        if (job == null) {
            return null
        }
        String starter = steps.currentBuild.fullProjectName
        if (Queue.instance.getItems(job).any { isStartedBy(starter, it.causes) }) {
            return 'is queued'
        }
        Object build = job.lastBuild
        while (build != null) {
            if (build.building && isStartedBy(starter, build.causes)) {
                return "is build #${build.number}, which has not ended".toString()
            }
            build = build.previousBuildInProgress
        }
        return null
    }

    @NonCPS
    private boolean isStartedBy(String job, List causes) {
        return causes.any { it instanceof Cause.UpstreamCause && it.upstreamProject == job }
    }

    @NonCPS
    private Object job(String path) {
        Object item = steps.currentBuild.rawBuild.parent.parent
        for (String name in path.split('/')) {
            item = item instanceof ItemGroup ? item.getItem(name) : null
        }
        return item instanceof ItemGroup ? null : item
    }
}
