package hudson.model

import hudson.triggers.TimerTrigger
import jenkins.branch.BranchEventCause
import jenkins.branch.BranchIndexingCause
import org.jenkinsci.plugins.pipeline.modeldefinition.causes.RestartDeclarativePipelineCause
import org.jenkinsci.plugins.workflow.cps.replay.ReplayCause
import org.jenkinsci.plugins.workflow.support.steps.build.BuildUpstreamCause

/** Why a build was started, as `rawBuild.causes` gives it: an object that cannot be saved. */
class Cause {
    String shortDescription

    /** The object behind what `getBuildCauses` returns. */
    static Cause of(Map attributes) {
        Class<? extends Cause> type = [UserIdCause, TimerTrigger.TimerTriggerCause, BranchEventCause, BranchIndexingCause, ReplayCause,
                                       RestartDeclarativePipelineCause, BuildUpstreamCause].find { it.name == attributes._class } ?: Cause
        Map properties = attributes.findAll { type.metaClass.hasProperty(null, it.key as String) }
        type.newInstance(properties)
    }

    static class UserIdCause extends Cause {
        String userId, userName
    }
}
