package jenkinsfile

import com.cloudbees.groovy.cps.Outcome

/** A step: its arguments and its callbacks. */
class StepDefinition {
    String name
    /** The argument that may be passed without a name. */
    String main
    boolean sync
    boolean block
    boolean needsWorkspace
    /** Whether a block step supplies its own body. */
    boolean bodyless
    String plugin
    Closure start
    Closure event = { Call call, String what -> }
    Closure bodyEnded = { Call call, CpsThread body, Outcome outcome ->
        outcome.failure ? call.fail(outcome.abnormal) : call.succeed(outcome.normal)
    }
    Closure stop
    /** Called before the end of a body is logged. */
    Closure bodyEnding
    Object symbol
    StepModel model

    /** Separate the body from the arguments; a malformed call raises before the step starts. */
    void readArguments(Call call, Object[] args) {
        List rest = args.toList()
        if (main == '*' && rest && !(rest[0] instanceof Map)) {
            throw new IllegalArgumentException("Expected named arguments but got ${rest.size() == 1 ? String.valueOf((Object) rest[0]) : rest}")
        }
        boolean takesBody = block || model == null
        if (takesBody && rest && rest.last() instanceof Closure) { call.body = rest.remove(rest.size() - 1) as Closure }
        if (rest.size() == 1 && rest[0] instanceof Map && isNamed(rest[0] as Map)) {
            rest[0].each { key, value -> call.arguments[key as String] = reify(value) }
        } else if (rest.size() == 1 && main) {
            call.arguments[main == '*' ? 'value' : main] = reify(rest[0])
        } else if (rest) {
            throw new IllegalArgumentException("Expected named arguments but got ${rest.collect { reify(it) }}")
        }
        if (block && !bodyless && call.body == null && main != '*') { throw new IllegalStateException("${name} step must be called with a body") }
    }

    /** Whether a map holds named arguments; for a step with one parameter, or with `$class`, it is the value. */
    private boolean isNamed(Map given) { main != '*' && !(main && given.containsKey('$class')) && (model == null || !model.sole || (given.size() == 1 && given.containsKey(main))) }

    /** The name in the console; `step` for `archiveArtifacts` with an invalid argument. */
    String heading(Call call) {
        if (name == 'step') { return ScriptSteps.heading(call) }
        name == 'archiveArtifacts' && call['artifacts'] != null && !(call['artifacts'] instanceof String) ? 'step' : call.name
    }

    /** Check and convert the arguments. */
    void instantiate(Call call) {
        if (model != null) {
            Map<String, Object> converted
            try {
                converted = model.instantiate(call.arguments) { String line -> call.log(line) }
            } catch (IllegalArgumentException error) {
                throw heading(call) == name ? error : new IllegalArgumentException("Failed to prepare ${name} step", error)
            }
            call.arguments.clear()
            call.arguments.putAll(converted)
        }
    }

    private static Object reify(Object value) {
        switch (value) {
            case GString: return value.toString()
            case Map: return Describable.of(value.collectEntries(new LinkedHashMap()) { k, v -> [k instanceof GString ? k.toString() : k, reify(v)] } as Map)
            case List: return new ArrayList(value.collect { reify(it) })
            default: return value
        }
    }
}

/** A value such as `string(name: 'X')`, which is not a step. */
class Describable implements Serializable {
    /** Symbols of the classes that a map with `$class` may name. */
    private static final Map<String, String> CLASSES = [
        BooleanParameterDefinition: 'booleanParam', BooleanParameterValue: 'booleanParam', BuildDiscarderProperty: 'buildDiscarder',
        ChoiceParameterDefinition: 'choice', DisableConcurrentBuildsJobProperty: 'disableConcurrentBuilds', FileBinding: 'file', LogRotator: 'logRotator',
        ParametersDefinitionProperty: 'parameters', PasswordParameterDefinition: 'password', SSHUserPrivateKeyBinding: 'sshUserPrivateKey',
        StringBinding: 'string', StringParameterDefinition: 'string', StringParameterValue: 'string', TextParameterDefinition: 'text',
        TextParameterValue: 'text', UsernamePasswordBinding: 'usernameColonPassword', UsernamePasswordMultiBinding: 'usernamePassword',
    ]
    String symbol
    Map<String, Object> arguments

    /** The value that a map with a known `$class` describes; other maps unchanged. */
    static Object of(Map map) {
        String symbol = CLASSES[(map['$class'] as String)?.tokenize('.')?.last()]
        if (symbol == null) { return map }
        Map<String, Object> arguments = map.findAll { it.key != '$class' }
        new Describable(symbol: symbol, arguments: symbol == 'parameters' ? [value: arguments.parameterDefinitions] : arguments)
    }

    Object getAt(String key) { arguments[key] }

    @Override
    String toString() { "@${symbol}(${arguments.collect { k, v -> "${k}=${v}" }.join(',')})" }
}

/** The registry of steps and symbols. */
class Steps {
    private static final Map<String, StepDefinition> ALL = [:]
    static final List<String> SYMBOLS = [
        'agent', 'authorInChangelog', 'booleanParam', 'buildDiscarder', 'certificate', 'choice', 'credentials', 'cron', 'disableConcurrentBuilds',
        'disableResume', 'dockerCert', 'durabilityHint', 'file', 'fileParam', 'githubPush', 'kubernetesAgent', 'logRotator', 'nonresumable',
        'parameters', 'password', 'pipelineTriggers', 'pollSCM', 'preserveStashes', 'rateLimitBuilds', 'run', 'scmGit', 'sshUserPrivateKey',
        'string', 'text', 'upstream', 'usernameColonPassword', 'usernamePassword',
    ]
    static final Map<String, String> OPTIONAL_SYMBOLS = [
        configMapVolume: 'kubernetes', containerTemplate: 'kubernetes', emptyDirVolume: 'kubernetes', envVar: 'kubernetes',
        hostPathVolume: 'kubernetes', persistentVolumeClaim: 'kubernetes', secretEnvVar: 'kubernetes', secretVolume: 'kubernetes',
    ]

    static {
        ControlSteps.register()
        FlowSteps.register()
        FileSteps.register()
        ShellSteps.register()
        InputSteps.register()
        BuildSteps.register()
        CredentialSteps.register()
        ToolSteps.register()
        OptionalSteps.register()
        ScriptSteps.register()
    }

    static StepDefinition define(Map values) {
        StepDefinition step = new StepDefinition(values + [model: StepModel.atRunTime(values.name as String)])
        ALL[step.name] = step
        step
    }

    static boolean isImplemented(String name) { ALL.containsKey(name) }

    /** Whether an installation with these plugins has the step. */
    static boolean isInstalled(String name, List<String> plugins) { ALL.containsKey(name) && (ALL[name].plugin == null || ALL[name].plugin in plugins) }

    static StepDefinition definition(String name) { ALL[name] }

    static boolean takesBody(String name) { ALL[name]?.block && !ALL[name].bodyless }

    static StepDefinition of(Call call) { isStubbed(call.run, call.name) ? OptionalSteps.STUBBED : ALL[call.name] }

    /** Whether the scenario stubs a step; a stub replaces the step of the harness. */
    private static boolean isStubbed(Run run, String name) { name in (run.scenario.steps as List) }

    static StepDefinition find(Run run, String name, Object[] args) {
        if (isStubbed(run, name)) { return OptionalSteps.STUBBED }
        StepDefinition step = ALL[name]
        if (step != null && (step.plugin == null || step.plugin in run.scenario.plugins)) { return step }
        if (name in SYMBOLS || pluginOfSymbol(name) in run.scenario.plugins) { return new StepDefinition(symbol: symbol(name, args)) }
        if (step == null && (name in Plugins.SUGGESTED_PLUGIN_STEPS || Plugins.of(name) in run.scenario.plugins)) { reportUnsupported(run, Plugins.unsupportedStep(name)) }
        List<String> known = (ALL.values().findAll { !it.plugin || it.plugin in run.scenario.plugins }*.name + (run.scenario.steps as List)).unique().sort()
        throw new NoSuchMethodError("No such DSL method '${name}' found among steps ${known} or symbols ${SYMBOLS} or globals ${Globals.NAMES}")
    }

    private static String pluginOfSymbol(String name) {
        OPTIONAL_SYMBOLS[name] ?: DeclarativeParser.PLUGIN_TRIGGERS[name] ?: DeclarativeParser.PLUGIN_PARAMETERS[name] ?: DeclarativeParser.PLUGIN_OPTIONS[name]
    }

    static void reportUnsupported(Run run, String what) { throw run.reportUnsupported(what) }

    private static Describable symbol(String name, Object[] args) {
        if (args.length == 1 && args[0] instanceof Map) { return new Describable(symbol: name, arguments: new LinkedHashMap(args[0])) }
        new Describable(symbol: name, arguments: args.length ? [value: args[0]] : [:])
    }
}

/** Wraps an error that Jenkins raises too and that would otherwise count as a bug of the harness. */
class JenkinsException extends RuntimeException {
    JenkinsException(Throwable error) { super(error) }
}

/** The script uses a feature that this harness does not support; not a result of Jenkins. */
class UnsupportedError extends Error {
    /** Whether the message contains the place, as those of the compiler do. */
    final boolean located

    UnsupportedError(String message, boolean located = false) {
        super(message)
        this.located = located
    }
}
