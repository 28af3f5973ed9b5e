package hudson.model

import hudson.triggers.TimerTrigger
import jenkins.branch.BranchEventCause
import jenkins.branch.BranchIndexingCause
import jenkinsfile.Controller
import org.jenkinsci.plugins.pipeline.modeldefinition.causes.RestartDeclarativePipelineCause
import org.jenkinsci.plugins.workflow.cps.replay.ReplayCause
import org.jenkinsci.plugins.workflow.support.steps.build.BuildUpstreamCause

/** A cause of `rawBuild.causes`, which is not serialisable. */
class Cause {
    String shortDescription

    /** The cause that a map of `getBuildCauses` describes. */
    static Cause of(Map attributes) {
        Class<? extends Cause> type = [UserIdCause, TimerTrigger.TimerTriggerCause, BranchEventCause, BranchIndexingCause, ReplayCause,
                                       RestartDeclarativePipelineCause, BuildUpstreamCause].find { it.name == attributes._class } ?: Cause
        Map properties = attributes.findAll { it.key != 'upstreamCauses' && type.metaClass.hasProperty(null, it.key as String) }
        if (UpstreamCause.isAssignableFrom(type)) { properties.givenUpstreamCauses = attributes.upstreamCauses }
        type.newInstance(properties)
    }

    static class UserIdCause extends Cause {
        String userId, userName
    }

    static class UpstreamCause extends Cause {
        String upstreamProject
        int upstreamBuild
        List<Map> givenUpstreamCauses

        /** The causes of the build that started this one: those of the scenario's cause, otherwise of that build. */
        List<Cause> getUpstreamCauses() {
            List<Map> causes = givenUpstreamCauses ?: Controller.current.jobs[upstreamProject]?.runs?.find { it.number == upstreamBuild }?.causes
            (causes ?: []).collect { Cause.of(it as Map) }
        }
    }
}
