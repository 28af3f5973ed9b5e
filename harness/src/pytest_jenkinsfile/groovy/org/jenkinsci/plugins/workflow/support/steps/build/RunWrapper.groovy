package org.jenkinsci.plugins.workflow.support.steps.build

import hudson.model.Result
import jenkinsfile.Run
import jenkinsfile.Text
import jenkinsfile.Controller
import net.sf.json.JSONArray
import net.sf.json.JSONObject
import org.jenkinsci.plugins.workflow.job.WorkflowRun

/** `currentBuild`, and the return value of `build`. */
class RunWrapper implements Serializable {
    private final String jobName
    private final int runNumber

    RunWrapper(String jobName, int runNumber) {
        this.jobName = jobName
        this.runNumber = runNumber
    }

    private Run run() { Controller.current.run(jobName, runNumber) }

    String getResult() { run().result?.name() }

    void setResult(String value) { run().worsen(Result.fromString(value)) }

    String getCurrentResult() { (run().result ?: Result.SUCCESS).name() }

    boolean resultIsBetterOrEqualTo(String other) { Result.fromString(currentResult).isBetterOrEqualTo(Result.fromString(other)) }

    boolean resultIsWorseOrEqualTo(String other) { Result.fromString(currentResult).isWorseOrEqualTo(Result.fromString(other)) }

    int getNumber() { runNumber }

    String getId() { "${runNumber}" }

    String getDisplayName() { run().displayName }

    void setDisplayName(Object value) { run().displayName = value?.toString() }

    String getDescription() { run().description }

    void setDescription(Object value) { run().description = value?.toString() }

    String getFullDisplayName() { "${jobName} ${displayName}" }

    String getProjectName() { jobName.tokenize('/').last() }

    String getFullProjectName() { jobName }

    String getAbsoluteUrl() { run().url }

    long getDuration() { Controller.current.clock.now - run().started }

    String getDurationString() { "${Text.span(duration)} and counting" }

    long getStartTimeInMillis() { Controller.EPOCH + run().started }

    long getTimeInMillis() { startTimeInMillis }

    boolean isKeepLog() { run().keepLog }

    void setKeepLog(boolean value) { run().keepLog = value }

    Map getBuildVariables() {
        Map all = run().assigned + run().parameters()
        all ?: Collections.emptyMap()
    }

    List getChangeSets() { run().changeSets() }

    List getUpstreamBuilds() { [] }

    RunWrapper getPreviousBuild() { wrap { it.number < runNumber } }

    RunWrapper getNextBuild() {
        Run match = run().job.runs.findAll { it.number > runNumber }.min { it.number }
        match == null ? null : new RunWrapper(jobName, match.number)
    }

    RunWrapper getPreviousBuildInProgress() { wrap { it.number < runNumber && !it.finished } }

    RunWrapper getPreviousBuiltBuild() { wrap { it.number < runNumber && it.finished && !(it.result in [Result.NOT_BUILT, Result.ABORTED]) } }

    RunWrapper getPreviousFailedBuild() { wrap { it.number < runNumber && it.finished && it.result == Result.FAILURE } }

    RunWrapper getPreviousCompletedBuild() { wrap { it.number < runNumber && it.finished } }

    RunWrapper getPreviousSuccessfulBuild() { wrap { it.number < runNumber && it.finished && it.result == Result.SUCCESS } }

    RunWrapper getPreviousNotFailedBuild() {
        wrap { it.number < runNumber && it.finished && it.result in [Result.SUCCESS, Result.UNSTABLE] }
    }

    private RunWrapper wrap(Closure<Boolean> condition) {
        Run match = run().job.runs.findAll(condition).max { it.number }
        match == null ? null : new RunWrapper(jobName, match.number)
    }

    JSONArray getBuildCauses() { asJson(run().causes) }

    JSONArray getBuildCauses(String type) { asJson(run().causes.findAll { it._class == type }) }

    private static JSONArray asJson(List<Map> causes) { new JSONArray(causes.collect { Map cause -> new JSONObject(cause.findAll { it.key != 'upstreamCauses' }) }) }

    JSONArray getBuildCauses(Class type) { getBuildCauses(type.name) }

    /** An object that is not serialisable, as in Jenkins. */
    Object getRawBuild() { new WorkflowRun(this) }
}
