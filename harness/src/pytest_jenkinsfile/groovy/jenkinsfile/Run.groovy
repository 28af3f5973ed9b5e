package jenkinsfile

import com.cloudbees.groovy.cps.Continuable
import com.cloudbees.groovy.cps.Outcome
import com.cloudbees.groovy.cps.sandbox.Invoker
import hudson.AbortException
import hudson.model.Result
import org.codehaus.groovy.runtime.InvokerHelper
import org.jenkinsci.plugins.credentialsbinding.impl.CredentialNotFoundException
import org.jenkinsci.plugins.workflow.actions.ErrorAction
import org.jenkinsci.plugins.workflow.steps.FlowInterruptedException

/** One build: program, variables, result, console, stages and steps. */
class Run {
    final Job job
    final int number
    final Map scenario
    final List<Map> causes
    final Controller controller = Controller.current
    final boolean reloads
    final boolean hasScm
    final List<String> console = []
    /** The parallel branch of each line of the console. */
    final List<String> lineBranches = []
    final List<Map> stages = []
    final List<Map> steps = []
    final List<String> cpsMismatches = []
    private final List<String> unlocatedMismatches = []
    final List<Map> refusedSubmissions = []
    /** Unsupported features that the script uses: `what`, the `error` raised for it, and its `place` in the script. */
    final List<Map> unsupported = []
    private boolean stopping
    final List<Map> archived = []
    /** Values assigned to `env`, sorted by name: of several spellings of a name the last one counts. */
    final SortedMap<String, String> assigned = new TreeMap<>()
    final EnvVars agentVariables
    /** The build's variables, computed again when its display name changes. */
    private EnvVars cachedVariables
    private String cachedDisplayName
    final Map<String, Object> parameterValues = [:]
    /** Those that the step `build` passed although the job does not define them: `params` has them, `env` does not. */
    final Set<String> undefinedParameters = [] as Set
    final Map<String, Result> warnings = [:]
    Long started
    boolean finished
    boolean keepLog
    Result result
    /** The result without the errors of stages, which `retry` may discard. */
    private Result permanentResult
    String description
    String displayName
    String pendingInput
    String commit
    /** Commits by the address of their repository. */
    final Map<String, String> sources = [:]
    /** Describes the object that could not be serialized. */
    String serializationFailure
    /** Causes of interruption that are in the console already. */
    final Set<String> loggedCauses = [] as Set
    Integer milestone
    String restartFrom
    /** The build that this one restarts from a stage. */
    final Run origin
    Code code
    ClassLoader loader
    Program program
    Call starting

    Run(Job job, Map scenario, List<Map> causes) {
        this.job = job
        this.number = (job.runs*.number.max() ?: 0) + 1
        this.scenario = scenario
        this.causes = new ArrayList<>(causes)
        this.reloads = scenario.reload
        this.agentVariables = new EnvVars(scenario.agentEnvironment as Map<String, String>)
        this.hasScm = scenario.scm
        this.displayName = "#${number}"
        this.restartFrom = scenario.restartFrom
        this.origin = restartFrom == null ? null : job.runs.findAll { it.finished }.max { it.number }
        boolean byIndexing = causes.any { it._class == 'jenkins.branch.BranchIndexingCause' } // has no parameters
        List<Map> defined = byIndexing ? [] : job.properties.parameters as List<Map>
        defined.each { parameterValues[it.name as String] = it.value }
        boolean startedByBuildStep = causes.any { cause -> Controller.current.jobs[cause.upstreamProject] }
        (scenario.parameters as Map)?.each { name, value ->
            Describable definition = defined.find { it.name == name }?.definition as Describable
            if (definition == null && startedByBuildStep) { undefinedParameters << (name as String) }
            parameterValues[name as String] = JobProperties.convert(definition, value)
        }
        if (origin) {
            parameterValues.putAll(origin.parameterValues)
            assigned.putAll(origin.assigned)
        }
    }

    String getUrl() { "${jobUrl(job.name)}${number}/" }

    static String jobUrl(String name) { "http://jenkins.example/job/${name.split('/').join('/job/')}/" }

    File getFolder() { new File(controller.root, "jobs/${job.name}/builds/${number}") }

    Invoker invoker() { scenario.sandbox ? new SandboxInvoker() : new ClockInvoker() }

    void start() {
        started = controller.clock.now
        causes.each { cause -> log(cause.shortDescription as String) }
        try {
            code = new Code(scenario.script as String, scenario.libraries as Map, scenario.implicit as boolean, scenario.sandbox as boolean,
                [plugins: scenario.plugins, tools: scenario.tools])
            loadLibraries()
            if (origin) { StageRestart.restoreFiles(this) }
            loader = code.newLoader()
            program = new Program()
            PipelineScript script = InvokerHelper.createScript(loader.loadClass(code.scriptClass), new Binding()) as PipelineScript
            CpsThread main = new CpsThread(id: program.nextId(), context: new Context(null, [:]), program: Engine.start(this, script))
            program.threads << main
            program.script = script
            log('[Pipeline] Start of Pipeline')
            controller.ready(this, main)
        } catch (CompilationError error) {
            log(error.toString())
            end(Result.FAILURE)
        } catch (UnsupportedError error) {
            if (!unsupported) { unsupported << [what: error.message, error: error] }
            end(Result.FAILURE)
        } catch (AbortException error) {
            log("ERROR: ${error.message}")
            end(Result.FAILURE)
        }
    }

    private void loadLibraries() {
        code.requestedLibraries.each { name ->
            log("Loading library ${name}")
            findLibrary(name)
        }
    }

    /** Compile a text to a script, for `load` and `evaluate`. */
    PipelineScript compileScript(String text) {
        String name = "Script${++program.compiledScripts}"
        code.addAtRunTime(name, text, scenario.sandbox as boolean, [plugins: scenario.plugins, tools: scenario.tools])
        PipelineScript script = InvokerHelper.createScript(loader.loadClass(name), new Binding()) as PipelineScript
        script.shareWith(program.script)
        script
    }

    void findLibrary(String name) {
        if (code.library(name) != null) { return }
        if (!code.libraries) {
            throw reportUnsupported("the library '${name}' is not configured in this scenario: library=PATH, or --library DIR or JENKINSFILE_LIBRARY of the command")
        }
        throw new AbortException("Could not find any definition of libraries [${name}]")
    }

    Map<String, Object> parameters() {
        Map<String, Object> values = new HashMap<>()
        job.properties.parameters.each { values[it.name as String] = it.value }
        values.putAll(parameterValues)
        Collections.unmodifiableMap(values)
    }

    /** Variables of the job, independent of the build. */
    Map<String, String> jobVariables() {
        Map<String, String> own = [
            CI: 'true', HUDSON_URL: 'http://jenkins.example/', JENKINS_URL: 'http://jenkins.example/', JOB_NAME: job.name, JOB_BASE_NAME: job.name.tokenize('/').last(),
            JOB_URL: jobUrl(job.name),
        ]
        own + (scenario.branchEnvironment as Map)
    }

    /** `env` in a context: variables of the node, of the build and its parameters, assigned ones, those of enclosing blocks. */
    EnvVars variables(Context context) {
        EnvVars agent = context['node'] ? agentVariables : null
        EnvVars.layered(agent, context['nodeVariables'] as Map<String, String>, buildVariables(), assigned, context.all('variables') as List<Map<String, String>>)
    }

    /** Variables of the build; parameters override others of their name. */
    EnvVars buildVariables() {
        if (cachedVariables != null && cachedDisplayName == displayName) { return cachedVariables }
        cachedDisplayName = displayName
        EnvVars all = new EnvVars(jobVariables())
        all.putAll([
            BUILD_NUMBER: number as String, BUILD_ID: number as String, BUILD_DISPLAY_NAME: displayName, BUILD_URL: url,
            RUN_DISPLAY_URL: "${url}display/redirect" as String, RUN_ARTIFACTS_DISPLAY_URL: "${url}display/redirect?page=artifacts" as String,
            RUN_CHANGES_DISPLAY_URL: "${url}display/redirect?page=changes" as String, RUN_TESTS_DISPLAY_URL: "${url}display/redirect?page=tests" as String,
            BUILD_TAG: "jenkins-${job.name.replace('/', '-')}-${number}" as String,
        ])
        all.putAll(scenario.environment as Map)
        parameterValues.findAll { !(it.key in undefinedParameters) }.each { name, value -> if (value != null) { all[name] = value as String } }
        all.resolve()
        cachedVariables = all
    }

    /** `currentBuild.changeSets`: the change sets of the scenario, and one for its single changes. */
    List<Map> changeSets() {
        List<Map> changes = scenario.changes as List ?: []
        List<Map> plain = changes.findAll { !it.containsKey('items') }.collect { Map change ->
            String message = change.message ?: ''
            List<String> paths = change.paths as List ?: []
            [msg: message.readLines().find() ?: '', comment: "${message}\n" as String, commitId: change.commit ?: '0' * 40,
             author: [fullName: change.author ?: 'dev', displayName: change.author ?: 'dev'], affectedPaths: paths,
             affectedFiles: paths.collect { [path: it, editType: [name: 'edit']] }]
        }
        changes.findAll { it.containsKey('items') } + (plain ? [[kind: 'git', items: plain]] : [])
    }

    void assign(String name, Object value) { assigned[name] = String.valueOf(value) }

    void worsen(Result other) {
        worsenUntilRetry(other)
        permanentResult = permanentResult == null ? other : permanentResult.combine(other)
    }

    /** Worsen the result by the error of a stage, which an enclosing `retry` may discard. */
    void worsenUntilRetry(Result other) { result = result == null ? other : result.combine(other) }

    void discardStageErrors() { result = permanentResult }

    void log(String line, Context context = null) {
        String masked = line
        context?.all('activity')?.each { Timeout.activity(this, it as int) }
        context?.secrets()?.values()?.findAll()?.sort { -it.length() }?.each { masked = masked.replace(it, '****') }
        masked.split('\n', -1).each {
            console << it
            lineBranches << (context == null ? null : context['branch'] as String)
            controller.request.call([event: 'log', job: job.name, build: number, line: it])
        }
    }

    void recordLibraryCall(String name, Object[] args) {
        steps << [name: name, library: true, arguments: JsonValue.of(args.toList()), stage: Engine.thread.context['stage'], branch: Engine.thread.context['branch']]
    }

    void startStep(StepDefinition step, Call call, Object[] args) {
        starting = call
        log("[Pipeline] ${step.heading(call)}", call.context)
        try {
            if (step.needsWorkspace && !call.context['cwd']) {
                record(call)
                throw new org.jenkinsci.plugins.workflow.steps.MissingContextVariableException('hudson.FilePath', step.heading(call))
            }
            step.instantiate(call)
            Secrets.warn(call, args)
            record(call)
            step.start.call(call)
        } catch (JenkinsException refused) {
            call.fail(refused.cause)
        } catch (MissingMethodException | MissingPropertyException | ClassCastException | NullPointerException error) {
            List<StackTraceElement> where = error.stackTrace.findAll { it.className.startsWith('jenkinsfile.') }.take(4)
            call.fail(reportUnsupported("bug of pytest-jenkinsfile in the step ${call.name}: ${error} at ${where}"))
        } catch (Throwable error) {
            call.fail(error)
        } finally {
            starting = null
        }
    }

    private void record(Call call) {
        Map step = [name: call.name, call: call.id, library: false, stage: call.context['stage'], branch: call.context['branch'],
                    container: call.context['container']?.image, node: call.context['node'],
                    arguments: Secrets.hide(JsonValue.of(call.arguments), call.context)]
        steps << step
        if (call.name == 'stage') {
            stages << [name: call.text('name'), call: call.id, id: "${call.id}" as String, parents: call.context.all('stage'), status: 'RUNNING']
        }
    }

    /** End a call that has its outcome. */
    void finished(Call call) {
        if (call.outcome.failure) { ErrorAction.mark(call.outcome.abnormal) }
        StepDefinition step = Steps.of(call)
        boolean withoutBody = call.outcome.success && !call.state.started
        if (step.block && !withoutBody) { log("[Pipeline] // ${call.name}", call.context) }
        steps.find { it.call == call.id }?.error = call.outcome.abnormal?.toString()
        if (call.name == 'stage') { endStage(call) }
        if (!call.is(starting)) { controller.ready(this, call) }
    }

    private void endStage(Call call) {
        Map stage = stages.find { it.call == call.id }
        if (stage == null || stage.status == 'SKIPPED') { return }
        Result worst = warnings[stage.id] ?: Result.SUCCESS
        if (call.outcome.failure) { worst = worst.combine(resultOf(call.outcome.abnormal)) }
        stage.status = worst.name()
    }

    /** Run the body of a block step in a new thread. */
    void startBody(Map options = [:], Call call) {
        Context context = options.context != null ? call.context + options.context : call.context
        log("[Pipeline] {${options.label ? " (${options.label})" : ''}", context)
        CpsThread body = new CpsThread(id: program.nextId(), context: context, ownerCall: call.id, branch: options.branch as String)
        CpsThread caller = Engine.thread
        call.state.started = true
        program.threads << body
        Object runs = options.body ?: call.body
        Object bodyProgram = runs instanceof PipelineScript ? Engine.start(this, runs) : Engine.start(this, runs as Closure, (options.arguments ?: []) as Object[])
        Engine.thread = caller
        if (bodyProgram instanceof Continuable) {
            body.program = bodyProgram
            controller.ready(this, body)
        } else {
            controller.schedule(0) {
                CpsThread ended = program.thread(body.id)
                program.threads.remove(ended)
                this.ended(ended, bodyProgram as Outcome)
            }
        }
    }

    /** Handle the end of a thread. */
    void ended(CpsThread thread, Outcome outcome) {
        if (thread.ownerCall == null) {
            finish(outcome)
            return
        }
        Call owner = program.call(thread.ownerCall)
        if (owner == null) { return }
        Steps.of(owner).bodyEnding?.call(owner)
        log('[Pipeline] }', thread.context)
        try {
            Steps.of(owner).bodyEnded.call(owner, thread, outcome)
        } catch (Throwable error) {
            unsupported.findAll { !it.place }.each { it.place = place(program.thread(owner.thread).program.stackTrace.toList()) }
            owner.fail(error)
        }
    }

    void interruptAll(Throwable error) {
        CpsThread main = program?.threads?.find { it.ownerCall == null }
        if (main != null) { interrupt(main, error) }
    }

    void interrupt(CpsThread thread, Throwable error) {
        if (thread.call == null || thread.call.outcome != null) {
            thread.interruption = error
        } else {
            interrupt(thread.call, error)
        }
    }

    void interrupt(Call call, Throwable error) {
        List<CpsThread> bodies = program.bodies(call)
        if (bodies) {
            bodies.each { interrupt(it, error) }
            return
        }
        if (Steps.of(call).stop?.call(call, error) == 'later') { return }
        controller.dequeue(this, call)
        call.fail(error)
    }

    void deliverInterruption(CpsThread thread) {
        if (thread.interruption != null && thread.call.outcome == null) {
            Throwable error = thread.interruption
            thread.interruption = null
            interrupt(thread.call, error)
        }
    }

    void mismatch(String message) {
        unlocatedMismatches << message
        log(message)
    }

    /** Add the place of the next step to mismatches: the CPS stack is unknown before it. */
    void locateMismatches(CpsThread thread) {
        StackTraceElement where = thread.program.stackTrace.find()
        unlocatedMismatches.each { cpsMismatches << "${it} (${where ? "at or before ${where}" : 'after the last step'})".toString() }
        unlocatedMismatches.clear()
    }

    /** Record an unsupported feature: the build gets no result, and no further step starts. */
    UnsupportedError reportUnsupported(String what) {
        UnsupportedError error = new UnsupportedError(what)
        unsupported << [what: what, error: error]
        error
    }

    /** Record the plugin of a step that was not found. */
    void reportMissingPlugin(Throwable error) {
        String name = error instanceof NoSuchMethodError ? (error.message =~ /^No such DSL method '(\w+)'/).collect { it[1] }.find() : null
        String message = name == null ? null : Plugins.missingPlugin(name)
        if (message != null) { unsupported << [what: message, error: error] }
    }

    /** Record an unknown step that ended a build of a scenario without a library, which might define it. */
    void reportUnknownStep(Throwable error) {
        reportMissingPlugin(error)
        if (unsupported) { return }
        if (error instanceof CredentialNotFoundException && scenario.credentialsUnknown) {
            unsupported << [what: "the scenario has no credentials, and the script uses some (${error.message}): credentials={'ID': {...}}, or --credentials FILE", error: error]
        }
        if (code.libraries || !(error instanceof NoSuchMethodError)) { return }
        (error.message =~ /^No such DSL method '(\w+)'/).each { whole, name ->
            if (name in DeclarativeParser.SECTIONS.pipeline + DeclarativeParser.SECTIONS.stage) { return }
            unsupported << [what: "'${name}' is not a known step, and the scenario has no library: library=PATH, or --library DIR or " +
                     "JENKINSFILE_LIBRARY of the command; a step is stubbed with steps={'${name}': ...}, or --step ${name}", error: error]
        }
    }

    void locateUnsupported(CpsThread thread) {
        unsupported.findAll { !it.place }.each { Map feature ->
            feature.place = place((feature.error as Throwable).stackTrace.toList() + thread.program.stackTrace.toList())
        }
        if (unsupported && !stopping) {
            stopping = true
            interruptAll(unsupported[0].error as Throwable)
        }
    }

    /** Messages about the unsupported features, each with its place. */
    List<String> describeUnsupported() {
        unsupported.collect { Map feature ->
            boolean located = feature.error instanceof UnsupportedError && feature.error.located
            String where = located ? null : feature.place ?: place((feature.error as Throwable).stackTrace.toList())
            where ? "${where}: ${feature.what}".toString() : feature.what as String
        }
    }

    private String place(List<StackTraceElement> frames) {
        StackTraceElement where = frames.find { it.lineNumber > 0 && (it.fileName == 'WorkflowScript' || ofLibrary(it.className)) }
        where == null ? null : "${where.fileName}:${where.lineNumber}"
    }

    private boolean ofLibrary(String type) { code?.classes?.containsKey(type) && !type.startsWith('jenkinsfile.') }

    void failSerialization(CpsThread thread) {
        StackTraceElement where = thread.program.stackTrace.find { it.fileName != 'ModelInterpreter.groovy' }
        List<String> way = SerializationPath.path(program).collect { "in field ${it}" } + "in ${where}"
        serializationFailure = "an exception which occurred:\n\t${way.join('\n\t')}"
        killCall(thread.call)
    }

    private void killCall(Call call) {
        program.bodies(call).each { CpsThread body ->
            if (body.call) { killCall(body.call) }
            program.threads.remove(body)
        }
        Steps.of(call).stop?.call(call, null)
    }

    static Result resultOf(Throwable error) {
        error instanceof FlowInterruptedException ? error.result : Result.FAILURE
    }

    private void finish(Outcome outcome) {
        log('[Pipeline] End of Pipeline')
        if (serializationFailure && outcome.failure) { log(serializationFailure) }
        if (outcome.failure) { reportUnknownStep(outcome.abnormal) }
        boolean worse = result?.isWorseThan(Result.FAILURE) // then Jenkins prints no error
        if (outcome.failure && !unsupported && (!worse || outcome.abnormal instanceof FlowInterruptedException)) { explain(outcome.abnormal) }
        end(outcome.failure ? resultOf(outcome.abnormal) : Result.SUCCESS)
    }

    private void end(Result last) {
        worsen(last)
        finished = true
        stages.findAll { it.status == 'RUNNING' }.each { it.status = last.name() }
        if (!unsupported) { log("Finished: ${result}") }
        BuildSteps.ended(this)
        job.startNext()
    }

    /** The lines that Jenkins prints about an error. */
    void explain(Throwable error, Context context = null) {
        if (error instanceof FlowInterruptedException) {
            error.causes.findAll { !(it.shortDescription in loggedCauses) }.each { log(it.shortDescription, context) }
        } else if (error instanceof AbortException) {
            log("ERROR: ${error.message}", context)
        } else {
            log(trace(error).join('\n'), context)
        }
    }

    /** The stack trace of an error, its cause first, with the frames of scripts only. */
    private static List<String> trace(Throwable error, Set<Throwable> seen = Collections.newSetFromMap(new IdentityHashMap<>())) {
        if (!seen.add(error)) { return [] }
        Throwable cause = error.cause
        String summary = error
        String suffix = ": ${cause}"
        if (cause != null && summary.endsWith(suffix)) { summary = summary.substring(0, summary.length() - suffix.length()) }
        List<String> frames = error.stackTrace.collect { "\tat ${it}" as String }
            .findAll { !it.startsWith('\tat jenkinsfile.') && it =~ /\((WorkflowScript|[A-Za-z0-9_]+\.groovy):\d+\)/ }
        List<Throwable> others = error.suppressed.findAll { !(it instanceof ErrorAction.ErrorId) }
        (cause == null ? [] : trace(cause, seen)) + others.collectMany { Throwable other ->
            List<String> lines = trace(other, seen)
            lines ? ['Also:   '] + lines : []
        } + ((cause == null ? '' : 'Caused: ') + summary).readLines() + frames
    }
}

/** Converts values to JSON types. */
class JsonValue {
    static Object of(Object value) {
        switch (value) {
            case null: case Boolean: case Number: return value
            case CharSequence: return value.toString()
            case Describable: return [(value.symbol): of(value.arguments)]
            case Map: return value.collectEntries { k, v -> [k as String, of(v)] }
            case Collection: return value.collect { of(it) }
            case Object[]: return value.toList().collect { of(it) }
            case Closure: return '{…}'
            default: return value.toString()
        }
    }
}

/** Masks and warnings for the values of credentials. */
class Secrets {
    static Object hide(Object value, Context context) {
        Map<String, String> secrets = context.secrets()
        if (!secrets) { return value }
        switch (value) {
            case String: return secrets.values().findAll().inject(value) { text, secret -> text.replace(secret, '****') }
            case Map: return value.collectEntries { k, v -> [k, hide(v, context)] }
            case List: return value.collect { hide(it, context) }
            default: return value
        }
    }

    static void warn(Call call, Object[] args) {
        List<String> leaked = call.context.secrets().findAll { name, secret -> secret && interpolates(args, secret) }.keySet().toList()
        if (leaked) {
            call.log("Warning: A secret was passed to \"${call.name}\" using Groovy String interpolation, which is insecure.\n" +
                "\t\t Affected argument(s) used the following variable(s): [${leaked.join(', ')}]\n" +
                '\t\t See https://jenkins.io/redirect/groovy-string-interpolation for details.')
        }
    }

    private static boolean interpolates(Object value, String secret) {
        switch (value) {
            case GString: return value.toString().contains(secret)
            case Map: return value.values().any { interpolates(it, secret) }
            case Collection: return value.any { interpolates(it, secret) }
            case Object[]: return value.any { interpolates(it, secret) }
            default: return false
        }
    }
}
