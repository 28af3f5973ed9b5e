package jenkinsfile

import com.cloudbees.groovy.cps.Outcome

/** A step: how its arguments are read, what it does, and what happens to it later. */
class StepDefinition {
    String name
    /** The argument that may be given without a name. */
    String main
    boolean sync
    boolean block
    boolean needsWorkspace
    /** Whether a block step brings its own body. */
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

    /** Tell the body and the named arguments apart; what cannot be understood is no step yet. */
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

    /** Whether a map holds named arguments; where a step has only one, or the map names its class, it is the value of that. */
    private boolean isNamed(Map given) { main != '*' && !(main && given.containsKey('$class')) && (model == null || !model.sole || (given.size() == 1 && given.containsKey(main))) }

    /** The name in the console. A publisher that cannot be made is only known by the step that would run it. */
    String heading(Call call) {
        if (name == 'step') { return ScriptSteps.heading(call) }
        name == 'archiveArtifacts' && call['artifacts'] != null && !(call['artifacts'] instanceof String) ? 'step' : call.name
    }

    /** Check and convert the arguments. */
    void instantiate(Call call) {
        if (model != null) {
            Map<String, Object> taken
            try {
                taken = model.instantiate(call.arguments) { String line -> call.log(line) }
            } catch (IllegalArgumentException error) {
                throw heading(call) == name ? error : new IllegalArgumentException("Failed to prepare ${name} step", error)
            }
            call.arguments.clear()
            call.arguments.putAll(taken)
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

/** A value such as `string(name: 'X')`, which is no step. */
class Describable implements Serializable {
    /** What may also be written as a map with the name of its class. */
    private static final Map<String, String> CLASSES = [
        BooleanParameterDefinition: 'booleanParam', BooleanParameterValue: 'booleanParam', BuildDiscarderProperty: 'buildDiscarder',
        ChoiceParameterDefinition: 'choice', DisableConcurrentBuildsJobProperty: 'disableConcurrentBuilds', FileBinding: 'file', LogRotator: 'logRotator',
        ParametersDefinitionProperty: 'parameters', PasswordParameterDefinition: 'password', SSHUserPrivateKeyBinding: 'sshUserPrivateKey',
        StringBinding: 'string', StringParameterDefinition: 'string', StringParameterValue: 'string', TextParameterDefinition: 'text',
        TextParameterValue: 'text', UsernamePasswordBinding: 'usernameColonPassword', UsernamePasswordMultiBinding: 'usernamePassword',
    ]
    String symbol
    Map<String, Object> arguments

    /** The same map, or what its class is known as. */
    static Object of(Map given) {
        String symbol = CLASSES[(given['$class'] as String)?.tokenize('.')?.last()]
        if (symbol == null) { return given }
        Map<String, Object> arguments = given.findAll { it.key != '$class' }
        new Describable(symbol: symbol, arguments: symbol == 'parameters' ? [value: arguments.parameterDefinitions] : arguments)
    }

    Object getAt(String key) { arguments[key] }

    @Override
    String toString() { "@${symbol}(${arguments.collect { k, v -> "${k}=${v}" }.join(',')})" }
}

/** The steps that this harness runs, those that only Jenkins has, and symbols. */
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
        PersonSteps.register()
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

    static boolean isPlayed(String name) { ALL.containsKey(name) }

    /** Whether an installation with these plugins has the step. */
    static boolean isInstalled(String name, List<String> plugins) { ALL.containsKey(name) && (ALL[name].plugin == null || ALL[name].plugin in plugins) }

    static StepDefinition definition(String name) { ALL[name] }

    static boolean takesBody(String name) { ALL[name]?.block && !ALL[name].bodyless }

    static StepDefinition of(Call call) { answers(call.run, call.name) ? OptionalSteps.ANSWERED : ALL[call.name] }

    /** What the scenario answers goes before what the harness would do. */
    private static boolean answers(Run run, String name) { name in (run.scenario.steps as List) }

    static StepDefinition find(Run run, String name, Object[] args) {
        if (answers(run, name)) { return OptionalSteps.ANSWERED }
        StepDefinition step = ALL[name]
        if (step != null && (step.plugin == null || step.plugin in run.scenario.plugins)) { return step }
        if (name in SYMBOLS || pluginOfSymbol(name) in run.scenario.plugins) { return new StepDefinition(symbol: symbol(name, args)) }
        if (step == null && (name in Plugins.USUAL_STEPS || Plugins.of(name) in run.scenario.plugins)) { refuseGap(run, Plugins.gapOfStep(name)) }
        List<String> known = (ALL.values().findAll { !it.plugin || it.plugin in run.scenario.plugins }*.name + (run.scenario.steps as List)).unique().sort()
        throw new NoSuchMethodError("No such DSL method '${name}' found among steps ${known} or symbols ${SYMBOLS} or globals ${Globals.NAMES}")
    }

    private static String pluginOfSymbol(String name) {
        OPTIONAL_SYMBOLS[name] ?: DeclarativeParser.PLUGIN_TRIGGERS[name] ?: DeclarativeParser.PLUGIN_PARAMETERS[name] ?: DeclarativeParser.PLUGIN_OPTIONS[name]
    }

    static void refuseGap(Run run, String what) { throw run.refuse(what) }

    private static Describable symbol(String name, Object[] args) {
        if (args.length == 1 && args[0] instanceof Map) { return new Describable(symbol: name, arguments: new LinkedHashMap(args[0])) }
        new Describable(symbol: name, arguments: args.length ? [value: args[0]] : [:])
    }
}

/** An error of a kind that would mean a fault of the harness, were it not Jenkins' own. */
class AsInJenkins extends RuntimeException {
    AsInJenkins(Throwable error) { super(error) }
}

/** A gap of this harness, which must not look like a result of Jenkins. */
class NotInHarness extends Error {
    /** Whether the message names the place, as one of the compiler does. */
    final boolean located

    NotInHarness(String message, boolean located = false) {
        super(message)
        this.located = located
    }
}
