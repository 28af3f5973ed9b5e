package jenkinsfile

import hudson.AbortException
import hudson.model.Result
import net.sf.json.JSONArray
import net.sf.json.JSONObject
import org.codehaus.groovy.runtime.InvokerHelper

/** The global variables of a pipeline: `env`, `params`, `currentBuild`, `scm`, `docker`, `steps`, and a library's. */
class Globals {
    static final List<String> NAMES = ['env', 'params', 'currentBuild', 'scm', 'docker', 'steps', 'pipeline']

    static boolean isGlobal(String name) { name in NAMES || Engine.run?.code?.isVariable(name) }

    static Object get(PipelineScript script, String name) {
        switch (name) {
            case 'env': return new EnvironmentVariables()
            case 'params': return Engine.run.parameters()
            case 'currentBuild': return new RunWrapper(Engine.run.job.name, Engine.run.number)
            case 'steps': return new StepsObject()
            case 'scm': return Scm.of(Engine.run)
            case 'docker': return cps('jenkinsfile.cps.Docker', script)
            case 'pipeline': return cps('jenkinsfile.cps.ModelInterpreter', script)
            default: return libraryVariable(script, name)
        }
    }

    /** What answers to a call by this name, or null when it is a step. */
    static Object callable(PipelineScript script, String name) {
        name == 'pipeline' || Engine.run.code.isVariable(name) ? get(script, name) : null
    }

    private static Object cps(String type, PipelineScript script) {
        Map kept = Engine.run.program.libraryVariables
        if (kept[type] == null) { kept[type] = Engine.run.loader.loadClass(type).newInstance(script) }
        kept[type]
    }

    /** One for each script that uses it, kept in that script's binding: two that use it share no fields. */
    private static Object libraryVariable(PipelineScript script, String name) {
        Map kept = script.binding.variables
        if (kept[name] == null) {
            Throwable why = Engine.run.code.unusable[name]
            if (why instanceof NotInHarness) { Engine.run.gaps << [what: why.message, error: why] }
            kept[name] = InvokerHelper.createScript(Engine.run.loader.loadClass(name), new Binding())
        }
        kept[name]
    }
}

/** `env`. What is assigned becomes text. */
class EnvironmentVariables implements Serializable {
    Object getProperty(String name) { Engine.run.variables(Engine.thread.context)[name] }

    void setProperty(String name, Object value) { Engine.run.assign(name, value?.toString()) }

    Map<String, String> getEnvironment() { Engine.run.variables(Engine.thread.context) }

    Object invokeMethod(String name, Object args) {
        Object[] list = InvokerHelper.asArray(args)
        switch (name) {
            case 'getProperty': return getProperty(list[0] as String)
            case 'setProperty': setProperty(list[0] as String, list[1]); return null
            case 'getEnvironment': return getEnvironment()
            case 'getAt': return getProperty(list[0] as String)
            case 'toString': return toString()
            case 'getClass': return EnvironmentVariables
            default: throw new MissingMethodException(name, EnvironmentVariables, list)
        }
    }

    @Override
    String toString() { 'org.jenkinsci.plugins.workflow.cps.EnvActionImpl' }
}

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

    void setResult(Object value) { run().worsen(Result.valueOf(value.toString())) }

    String getCurrentResult() { (run().result ?: Result.SUCCESS).name() }

    boolean resultIsBetterOrEqualTo(String other) { Result.valueOf(currentResult).isBetterOrEqualTo(Result.valueOf(other)) }

    boolean resultIsWorseOrEqualTo(String other) { Result.valueOf(currentResult).isWorseOrEqualTo(Result.valueOf(other)) }

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

    Map getBuildVariables() { run().assigned + run().parameters() }

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

    Object getCauses() { build.buildCauses }

    Object getParent() { new RawJob(build) }

    int getNumber() { build.number }

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

/** `scm`: only where the script itself came out of version control. */
class Scm implements Serializable {
    String branch
    String url

    static Scm of(Run run) {
        if (!run.hasScm) {
            throw new AbortException('‘checkout scm’ is only available when using “Multibranch Pipeline” or “Pipeline script from SCM”')
        }
        new Scm(branch: run.scenario.branch ?: 'main', url: run.scenario.scmUrl)
    }

    List getBranches() { [[name: branch]] }

    List getUserRemoteConfigs() { [[url: url]] }
}
