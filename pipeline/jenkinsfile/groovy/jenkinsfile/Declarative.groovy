package jenkinsfile

import hudson.model.Result
import org.jenkinsci.plugins.workflow.cps.steps.ParallelStep
import org.jenkinsci.plugins.workflow.steps.FlowInterruptedException

/** What the interpreter of Declarative pipelines asks of the build: plain code, no steps. */
class Declarative {
    static final List<String> FLAGS = ['newContainerPerStage', 'parallelsAlwaysFailFast', 'preserveStashes', 'skipDefaultCheckout', 'skipStagesAfterUnstable']

    static void begin() {
        if (Engine.run.program.declarativeStarted) { throw new IllegalStateException('Only one pipeline { ... } block can be executed in a single run.') }
        Engine.run.program.declarativeStarted = true
    }

    static void log(String line) { Engine.run.log(line, Engine.thread.context) }

    static void preserveStashes() { Engine.run.job.preserveStashes = true }

    static boolean hasScm() { Engine.run.hasScm }

    static boolean hasWorkspace() { Engine.thread.context['workspace'] != null }

    static String restartFrom() { Engine.run.restartFrom }

    static boolean isUnstable() { Engine.run.result == Result.UNSTABLE }

    static boolean truth(Object value) { value ? true : false }

    static Describable credential(String variable, String id) { CredentialSteps.declared(Engine.run, variable, id) }

    static void properties(List options, List parameters, List triggers) {
        List<Describable> values = options + (parameters ? [new Describable(symbol: 'parameters', arguments: [value: parameters])] : []) +
            (triggers ? [new Describable(symbol: 'pipelineTriggers', arguments: [value: triggers])] : [])
        JobProperties.set(Engine.run.job, values)
    }

    static Describable option(String name, List values) {
        new Describable(symbol: name, arguments: values && values[0] instanceof Map ? values[0] : values ? [value: values[0]] : [:])
    }

    /** The branch that made `failFast` stop the others decides the result. */
    static void failed(Throwable error) {
        Engine.run.refuseMissingPlugin(error)
        boolean failFast = error instanceof FlowInterruptedException && error.causes.any { it instanceof ParallelStep.FailFastCause }
        if (!failFast) { Engine.run.worsen(Run.resultOf(error)) }
    }

    static void succeededSoFar() { if (Engine.run.result == null) { Engine.run.result = Result.SUCCESS } }

    static void skipped() { Engine.run.stages.find { it.id == Engine.thread.context['stage'] }?.status = 'SKIPPED' }

    static void postFailed(String condition, Throwable error) {
        failed(error)
        log("Error when executing ${condition} post condition:")
        log(error.toString())
    }

    static String[] environmentOf(Map values) { values.collect { k, v -> "${k}=${v}" as String } }

    static boolean branch(Map<String, String> env, Map values) {
        env.BRANCH_NAME != null && compare(values.comparator as String ?: 'GLOB', values.pattern ?: values.value, env.BRANCH_NAME)
    }

    static boolean tag(Map<String, String> env, Map values) {
        env.TAG_NAME != null && compare(values.comparator as String ?: 'GLOB', values.pattern ?: values.value, env.TAG_NAME)
    }

    static boolean changeRequest(Map<String, String> env, Map values) {
        Map names = [id: 'CHANGE_ID', target: 'CHANGE_TARGET', branch: 'CHANGE_BRANCH', fork: 'CHANGE_FORK', url: 'CHANGE_URL', title: 'CHANGE_TITLE',
                     author: 'CHANGE_AUTHOR', authorDisplayName: 'CHANGE_AUTHOR_DISPLAY_NAME', authorEmail: 'CHANGE_AUTHOR_EMAIL']
        env.CHANGE_ID != null && values.findAll { it.key != 'comparator' && it.key != 'value' }.every { key, wanted ->
            compare(values.comparator as String ?: 'EQUALS', wanted, env[names[key]] ?: '')
        }
    }

    static boolean triggeredBy(Map values) {
        String wanted = values.cause ?: values.value
        Engine.run.causes.any {
            String type = it._class
            (type == wanted || type.tokenize('.$').last() == wanted) && (values.detail == null || it.userId == values.detail)
        }
    }

    static Map<String, String> variables() { Engine.run.variables(Engine.thread.context) }

    private static boolean compare(String comparator, Object pattern, String value) {
        switch (comparator) {
            case 'EQUALS': return value == pattern as String
            case 'REGEXP': return value ==~ (pattern as String)
            default: return Text.matches(pattern as String, value)
        }
    }

    /** Whether a `post` condition holds, for a stage (its own error and warnings) or the whole build. */
    static boolean satisfied(String condition, Throwable error, boolean stage) {
        Run run = Engine.run
        Result build = run.result ?: Result.SUCCESS
        Result own = error == null ? (stage ? run.warnings[Engine.thread.context['stage']] : null) ?: Result.SUCCESS : Run.resultOf(error)
        Result combined = build.combine(own)
        if (stage && build == Result.FAILURE) { combined = own }
        Run previous = run.job.runs.findAll { it.number < run.number && it.finished }.max { it.number }
        switch (condition) {
            case 'always': case 'cleanup': return true
            case 'changed': return previous == null || previous.result != combined
            case 'fixed': return previous != null && previous.result in [Result.FAILURE, Result.UNSTABLE] && combined == Result.SUCCESS
            case 'regression': return previous != null && combined in [Result.FAILURE, Result.UNSTABLE, Result.ABORTED] && combined.isWorseThan(previous.result)
            case 'aborted': return combined == Result.ABORTED
            case 'success': return combined == Result.SUCCESS
            case 'unsuccessful': return combined != Result.SUCCESS
            case 'unstable': return combined == Result.UNSTABLE
            case 'failure': return combined == Result.FAILURE
            case 'notBuilt': return combined == Result.NOT_BUILT
            default: throw new IllegalArgumentException(condition)
        }
    }
}

/** Lets a value of `environment { }` use the ones above it. */
class EnvironmentScope implements Serializable {
    private final Map<String, String> values = [:]

    void add(String name, Object value) { values[name] = value?.toString() }

    Object getProperty(String name) {
        if (!values.containsKey(name)) { throw new MissingPropertyException(name, EnvironmentScope) }
        values[name]
    }
}
