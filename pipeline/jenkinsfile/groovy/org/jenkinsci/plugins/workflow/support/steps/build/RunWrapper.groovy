package org.jenkinsci.plugins.workflow.support.steps.build

import hudson.model.Cause
import hudson.model.Result
import jenkinsfile.EnvVars
import jenkinsfile.Run
import jenkinsfile.Text
import jenkinsfile.World
import net.sf.json.JSONArray
import net.sf.json.JSONObject

/** `currentBuild`, and what `build` returns. */
class RunWrapper implements Serializable {
    private final String jobName
    private final int runNumber

    RunWrapper(String jobName, int runNumber) {
        this.jobName = jobName
        this.runNumber = runNumber
    }

    private Run run() { World.current.run(jobName, runNumber) }

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

    long getDuration() { World.current.clock.now - run().started }

    String getDurationString() { "${Text.span(duration)} and counting" }

    long getStartTimeInMillis() { World.EPOCH + run().started }

    long getTimeInMillis() { startTimeInMillis }

    boolean isKeepLog() { run().keepLog }

    void setKeepLog(boolean value) { run().keepLog = value }

    Map getBuildVariables() { new EnvVars(run().assigned) + run().parameters() }

    List getChangeSets() { run().changeSets() }

    List getUpstreamBuilds() { [] }

    RunWrapper getPreviousBuild() { wrap { it.number < runNumber } }

    RunWrapper getPreviousCompletedBuild() { wrap { it.number < runNumber && it.finished } }

    RunWrapper getPreviousSuccessfulBuild() { wrap { it.number < runNumber && it.finished && it.result == Result.SUCCESS } }

    RunWrapper getPreviousNotFailedBuild() {
        wrap { it.number < runNumber && it.finished && it.result in [Result.SUCCESS, Result.UNSTABLE] }
    }

    private RunWrapper wrap(Closure<Boolean> wanted) {
        Run found = run().job.runs.findAll(wanted).max { it.number }
        found == null ? null : new RunWrapper(jobName, found.number)
    }

    JSONArray getBuildCauses() { new JSONArray(run().causes.collect { new JSONObject(it) }) }

    JSONArray getBuildCauses(String type) { new JSONArray(run().causes.findAll { it._class == type }.collect { new JSONObject(it) }) }

    JSONArray getBuildCauses(Class type) { getBuildCauses(type.name) }

    /** Stands for an object that must not be kept over a step. */
    Object getRawBuild() { new RawBuild(this) }
}

/** Not serialisable, as in Jenkins. */
class RawBuild {
    private final RunWrapper build

    RawBuild(RunWrapper build) { this.build = build }

    List<Cause> getCauses() { build.buildCauses.collect { Cause.of(it as Map) } }

    Object getParent() { new RawJob(build) }

    int getNumber() { build.number }

    /** What Jenkins' configuration, the job and the parameters set: no `withEnv`, `environment {}` or `env.X = …` is in it. */
    EnvVars getEnvironment(Object listener) {
        Objects.requireNonNull(listener, 'listener')
        new EnvVars(World.current.run(build.fullProjectName, build.number).own())
    }

    String toString() { "${build.fullProjectName} #${build.number}" }
}

/** The job behind a build. Not serialisable, as in Jenkins. */
class RawJob {
    private final RunWrapper build

    RawJob(RunWrapper build) { this.build = build }

    String getFullName() { build.fullProjectName }

    String getName() { build.projectName }

    /** What the job itself sets: no parameter, `withEnv` or `environment {}` is in it. */
    Map<String, String> getEnvironment(Object node, Object listener) {
        Objects.requireNonNull(listener, 'listener')
        if (node != null) { throw new IllegalArgumentException('this harness knows the environment of a job without a node only') }
        World.current.run(build.fullProjectName, build.number).jobVariables()
    }

    String toString() { build.fullProjectName }
}
