package jenkinsfile

import groovy.json.JsonSlurperClassic
import hudson.model.Result
import org.jenkinsci.plugins.workflow.cps.steps.ParallelStep
import org.jenkinsci.plugins.workflow.steps.FlowInterruptedException
import org.jenkinsci.plugins.workflow.steps.MissingContextVariableException

/** Functions of `ModelInterpreter` that run outside CPS and call no steps. */
class Declarative {
    static final List<String> FLAGS = ['newContainerPerStage', 'parallelsAlwaysFailFast', 'preserveStashes', 'skipDefaultCheckout', 'skipStagesAfterUnstable']

    static final String NO_NODE = 'Attempted to execute a step that requires a node context while ‘agent none’ was specified. ' +
        'Be sure to specify your own ‘node { ... }’ blocks when using ‘agent none’.'

    static boolean lacksNode(Throwable error) { error instanceof MissingContextVariableException && error.type in ['hudson.FilePath', 'hudson.Launcher'] }

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

    /** Worsen the result by an error; errors of branches that `failFast` stopped do not count. */
    static void failed(Throwable error) {
        Engine.run.reportMissingPlugin(error)
        boolean failFast = error instanceof FlowInterruptedException && error.causes.any { it instanceof ParallelStep.FailFastCause }
        if (!failFast) { Engine.run.worsenUntilRetry(Run.resultOf(error)) }
    }

    /** Discard the errors of the last attempt before the option `retry` runs the stages again. */
    static void retryStages() { Engine.run.discardStageErrors() }

    static void succeededSoFar() { if (Engine.run.result == null) { Engine.run.result = Result.SUCCESS } }

    /** Set the build's result before the `post` of a stage: the worse of its own and the stage's warnings, or SUCCESS if it has none. */
    static void resultSoFar() {
        Result own = Engine.run.warnings[Engine.thread.context['stage']]
        if (own != null && Engine.run.result != null) { Engine.run.worsen(own) }
        succeededSoFar()
    }

    static void skipped() { Engine.run.stages.find { it.id == Engine.thread.context['stage'] }?.status = 'SKIPPED' }

    static void recordPostFailure(String condition, Throwable error) {
        failed(error)
        log("Error when executing ${condition} post condition:")
        log(error.toString())
    }

    static String[] environmentOf(Map values) { values.collect { k, v -> "${k}=${v}" as String } }

    /** The combinations of the axes, the first axis changing fastest, without excluded ones. */
    static List<Map<String, String>> cells(String combinations) {
        Map matrix = new JsonSlurperClassic().parseText(combinations) as Map
        List<Map<String, String>> cells = [[:]]
        matrix.axes.each { axis -> cells = axis.values.collectMany { value -> cells.collect { it + [(axis.name): value] } } }
        cells.findAll { cell -> !matrix.excludes.any { exclude -> exclude.every { (cell[it.name] in it.values) != it.inverse } } }
    }

    static String cellName(Map values) { "Matrix - ${values.collect { name, value -> "${name} = '${value}'" }.join(', ')}" }

    /** The tools of a stage, in addition to those outerNames it. */
    static List<Map> mergedTools(Map own, Map outer) {
        ((outer ?: [:]) + (own ?: [:])).collect { type, version -> [type: type, version: version] }
    }

    static Map podArguments(Map values) {
        Map arguments = values.findAll { !(it.key in ['containerTemplate', 'customWorkspace', 'defaultContainer', 'retries', 'yamlFile']) }
        List<Map> containers = (values.containerTemplate ? [values.containerTemplate] : []) + (values.containerTemplates as List ?: [])
        containers ? arguments + [containers: containers] : arguments
    }

    static boolean branch(Map<String, String> env, Map values) {
        String name = env.BRANCH_NAME ?: env.GIT_LOCAL_BRANCH
        String pattern = values.pattern ?: values.value
        name && pattern ? compare(values.comparator as String, 'GLOB', pattern, name) : !name && !pattern
    }

    static boolean tag(Map<String, String> env, Map values) {
        String pattern = values.pattern ?: values.value
        env.TAG_NAME && (!pattern || compare(values.comparator as String, 'GLOB', pattern, env.TAG_NAME))
    }

    static boolean environment(Map<String, String> env, Map values) {
        String value = env[values.name as String] ?: ''
        String expected = values.value ?: ''
        values.ignoreCase ? value.equalsIgnoreCase(expected) : value == expected
    }

    /** The changes of the build: each with `msg`, `comment` and `affectedPaths`. */
    static List<Map> changes(Run run) { (run.changeSets() as List<Map>).collectMany { it.items as List } as List<Map> }

    static String emptyChangelog() {
        if (changes(Engine.run)) { return null }
        Engine.run.number <= 1 ? 'Warning, empty changelog. Probably because this is the first build.' : 'Warning, empty changelog. Have you run checkout?'
    }

    static boolean changed(String kind, Map values) {
        String pattern = values.pattern ?: values.value
        changes(Engine.run).any { Map change ->
            kind == 'changeset' ? changesFile(change, pattern, values) : changeMatches(change, pattern)
        }
    }

    private static boolean changesFile(Map change, String pattern, Map values) {
        List<String> paths = (change.affectedPaths ?: change.affectedFiles*.path ?: []) as List
        paths.any { compare(values.comparator as String, 'GLOB', pattern, it, values.caseSensitive as boolean) }
    }

    private static boolean changeMatches(Map change, String pattern) {
        java.util.regex.Pattern lines = ~"(?m)(?s)^[^\\r\\n]*?${pattern}[^\\r\\n]*?\$"
        (change.msg ?: '') ==~ pattern || (change.comment ?: change.msg ?: '') ==~ lines
    }

    static boolean changeRequest(Map<String, String> env, Map values) {
        Map names = [id: 'CHANGE_ID', target: 'CHANGE_TARGET', branch: 'CHANGE_BRANCH', fork: 'CHANGE_FORK', url: 'CHANGE_URL', title: 'CHANGE_TITLE',
                     author: 'CHANGE_AUTHOR', authorDisplayName: 'CHANGE_AUTHOR_DISPLAY_NAME', authorEmail: 'CHANGE_AUTHOR_EMAIL']
        env.CHANGE_ID && values.findAll { it.value && names[it.key] && it.key != 'url' }.every { key, expected ->
            compare(values.comparator as String, 'EQUALS', expected as String, env[names[key]] ?: '')
        }
    }

    static boolean triggeredBy(Map values) {
        String cause = values.cause ?: values.value
        Engine.run.causes.any {
            String type = (it._class as String).tokenize('.$').last()
            type == 'UserIdCause' && cause == type ? values.detail == null || it.userId == values.detail : type ==~ "(?i)\\.*${cause}.*"
        }
    }

    static Map<String, String> variables() { Engine.run.variables(Engine.thread.context) }

    private static boolean compare(String comparator, String usual, String pattern, String value, boolean caseSensitive = false) {
        String named = comparator?.toUpperCase()
        switch (named in ['EQUALS', 'GLOB', 'REGEXP'] ? named : usual) {
            case 'EQUALS': return value == pattern
            case 'REGEXP': return value ==~ pattern
            default: return Text.matches(pattern, value, caseSensitive)
        }
    }

    /** Whether a `post` condition holds, for a stage (its own error and warnings) or the whole build. */
    static boolean applies(String condition, Throwable error, boolean stage) {
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

/** Resolves references between the values of an `environment { }` block, in any order. An empty value is read as null. */
class EnvironmentScope implements Serializable {
    private final Map<String, Closure> entries = [:]
    private final Map<String, String> values = [:]
    private final Set<String> open = [] as Set
    /** Names that the pipeline's block sets: with an empty value such a name is null, not an unknown property. */
    private final List<String> outerNames

    EnvironmentScope(List<String> outerNames) { this.outerNames = outerNames }

    void add(String name, Closure value) {
        value.delegate = this
        value.resolveStrategy = Closure.DELEGATE_FIRST
        entries[name] = value
    }

    boolean has(String name) { values.containsKey(name) }

    Closure enter(String name) {
        open << name
        entries[name]
    }

    void leave(String name, Object value) {
        open.remove(name)
        values[name] = value?.toString()
    }

    /** `NAME=VALUE` in the order of the block, as GStrings: a secret that is interpolated causes a warning, as in Jenkins. */
    List<GString> pairs() {
        List<GString> all = []
        for (String name in entries.keySet()) { all << "${name}=${values[name]}" }
        all
    }

    Object getProperty(String name) {
        if (name == 'env') { return new ScopedEnvironment(this) }
        if (isOwn(name)) { return lookUp(name) }
        boolean isEmpty = name in outerNames && Engine.run.variables(Engine.thread.context)[name] == null
        if (isEmpty) { return null }
        throw new MissingPropertyException(name, entries.values().first().thisObject.getClass())
    }

    /** Whether a name refers to a variable of this block, not to the outer one of which its value is being computed. */
    boolean isOwn(String name) { entries.containsKey(name) && !(name in open) }

    String lookUp(String name) {
        if (!values.containsKey(name)) { throw new ForwardReference(name) }
        values[name]
    }
}

/** `env` in a value of `environment { }`: variables of the block, then those of enclosing blocks. */
class ScopedEnvironment extends EnvironmentVariables {
    private final EnvironmentScope scope

    ScopedEnvironment(EnvironmentScope scope) { this.scope = scope }

    @Override
    Object getProperty(String name) { scope.isOwn(name) ? scope.lookUp(name) : super.getProperty(name) }
}

/** A value of `environment { }` refers to a variable that is not evaluated yet. */
class ForwardReference extends RuntimeException {
    final String variable

    ForwardReference(String variable) {
        super(variable)
        this.variable = variable
    }
}
