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

/** One build: its program, variables, result, console and what it did. */
class Run {
    final Job job
    final int number
    final Map scenario
    final List<Map> causes
    final World world = World.current
    final boolean reloads
    final boolean hasScm
    final List<String> console = []
    /** The parallel branch of each line of the console. */
    final List<String> lineBranches = []
    final List<Map> stages = []
    final List<Map> steps = []
    final List<String> mismatches = []
    private final List<String> unlocated = []
    final List<Map> refusals = []
    /** What this harness lacks and the script asked for: `what`, the `error` raised for it, and its `place` in the script. */
    final List<Map> gaps = []
    private boolean stopping
    final List<Map> archived = []
    /** What was assigned to `env`, in the order of names: of several spellings of a name the last one counts. */
    final SortedMap<String, String> assigned = new TreeMap<>()
    final EnvVars agentVariables
    /** As long as the build keeps its name they are the same. */
    private EnvVars ownVariables
    private String namedWhenMade
    final Map<String, Object> parameterValues = [:]
    final Map<String, Result> warnings = [:]
    Long started
    boolean finished
    boolean keepLog
    Result result
    /** The result without what may still be undone. */
    private Result lasting
    String description
    String displayName
    String waitsAt
    String commit
    /** Commits by the address of their repository. */
    final Map<String, String> sources = [:]
    /** The path to what could not be saved. */
    String unsaved
    /** Causes of an interruption that the console has already. */
    final Set<String> loggedCauses = [] as Set
    Integer milestone
    String restartFrom
    /** The build that this one restarts at a stage. */
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
        boolean byIndexing = causes.any { it._class == 'jenkins.branch.BranchIndexingCause' } // has no parameters of its own
        List<Map> defined = byIndexing ? [] : job.properties.parameters as List<Map>
        defined.each { parameterValues[it.name as String] = it.value }
        (scenario.parameters as Map)?.each { name, value ->
            Describable definition = defined.find { it.name == name }?.definition as Describable
            parameterValues[name as String] = JobProperties.given(definition, value)
        }
        if (origin) {
            parameterValues.putAll(origin.parameterValues)
            assigned.putAll(origin.assigned)
        }
    }

    String getUrl() { "http://jenkins.example/job/${job.name.split('/').join('/job/')}/${number}/" }

    File getFolder() { new File(world.root, "jobs/${job.name}/builds/${number}") }

    Invoker invoker() { scenario.sandbox ? new SandboxInvoker() : new ClockInvoker() }

    void start() {
        started = world.clock.now
        causes.each { cause -> log(cause.shortDescription as String) }
        try {
            code = new Code(scenario.script as String, scenario.libraries as Map, scenario.implicit as boolean, scenario.sandbox as boolean,
                [plugins: scenario.plugins, tools: scenario.tools])
            loadLibraries()
            if (origin) { Restart.keep(this) }
            loader = code.newLoader()
            program = new Program()
            PipelineScript script = InvokerHelper.createScript(loader.loadClass(code.scriptClass), new Binding()) as PipelineScript
            CpsThread main = new CpsThread(id: program.nextId(), context: new Context(null, [:]), program: Engine.start(this, script))
            program.threads << main
            program.script = script
            log('[Pipeline] Start of Pipeline')
            world.ready(this, main)
        } catch (NotCompiled error) {
            log(error.toString())
            end(Result.FAILURE)
        } catch (NotInHarness error) {
            if (!gaps) { gaps << [what: error.message, error: error] }
            end(Result.FAILURE)
        } catch (AbortException error) {
            log("ERROR: ${error.message}")
            end(Result.FAILURE)
        }
    }

    private void loadLibraries() {
        code.askedLibraries.each { name ->
            log("Loading library ${name}")
            findLibrary(name)
        }
    }

    /** A script of its own made of a text, as `load` and `evaluate` do. */
    PipelineScript evaluated(String text) {
        String name = "Script${++program.evaluated}"
        code.addEvaluated(name, text, scenario.sandbox as boolean, [plugins: scenario.plugins, tools: scenario.tools])
        PipelineScript made = InvokerHelper.createScript(loader.loadClass(name), new Binding()) as PipelineScript
        made.shareWith(program.script)
        made
    }

    void findLibrary(String name) {
        if (code.library(name) != null) { return }
        if (!code.libraries) {
            throw refuse("the library '${name}' is not in this scenario: library=PATH, or --library DIR or JENKINSFILE_LIBRARY of the command")
        }
        throw new AbortException("Could not find any definition of libraries [${name}]")
    }

    Map<String, Object> parameters() {
        Map<String, Object> values = new HashMap<>()
        job.properties.parameters.each { values[it.name as String] = it.value }
        values.putAll(parameterValues)
        Collections.unmodifiableMap(values)
    }

    /** What the job sets by itself, whatever the build was started with. */
    Map<String, String> jobVariables() {
        Map<String, String> own = [
            CI: 'true', HUDSON_URL: 'http://jenkins.example/', JENKINS_URL: 'http://jenkins.example/', JOB_NAME: job.name, JOB_BASE_NAME: job.name.tokenize('/').last(),
            JOB_URL: "http://jenkins.example/job/${job.name.split('/').join('/job/')}/" as String,
        ]
        own + (scenario.branchEnvironment as Map)
    }

    /** `env` at this place: the node's, then the build's with its parameters, then what was assigned, then the blocks around. */
    EnvVars variables(Context context) {
        EnvVars agent = context['node'] ? agentVariables : null
        EnvVars.inLayers(agent, context['nodeVariables'] as Map<String, String>, own(), assigned, context.all('variables') as List<Map<String, String>>)
    }

    /** The build's own variables; parameters go before all others of their name. */
    EnvVars own() {
        if (ownVariables != null && namedWhenMade == displayName) { return ownVariables }
        namedWhenMade = displayName
        EnvVars all = new EnvVars(jobVariables())
        all.putAll([
            BUILD_NUMBER: number as String, BUILD_ID: number as String, BUILD_DISPLAY_NAME: displayName, BUILD_URL: url,
            RUN_DISPLAY_URL: "${url}display/redirect" as String, RUN_ARTIFACTS_DISPLAY_URL: "${url}display/redirect?page=artifacts" as String,
            RUN_CHANGES_DISPLAY_URL: "${url}display/redirect?page=changes" as String, RUN_TESTS_DISPLAY_URL: "${url}display/redirect?page=tests" as String,
            BUILD_TAG: "jenkins-${job.name.replace('/', '-')}-${number}" as String,
        ])
        all.putAll(scenario.environment as Map)
        parameterValues.each { name, value -> if (value != null) { all[name] = value as String } }
        all.resolve()
        ownVariables = all
    }

    /** `currentBuild.changeSets`: what the scenario gives, plain changes in a set of their own. */
    List<Map> changeSets() {
        List<Map> given = scenario.changes as List ?: []
        List<Map> plain = given.findAll { !it.containsKey('items') }.collect { Map change ->
            String message = change.message ?: ''
            List<String> paths = change.paths as List ?: []
            [msg: message.readLines().find() ?: '', comment: "${message}\n" as String, commitId: change.commit ?: '0' * 40,
             author: [fullName: change.author ?: 'dev', displayName: change.author ?: 'dev'], affectedPaths: paths,
             affectedFiles: paths.collect { [path: it, editType: [name: 'edit']] }]
        }
        given.findAll { it.containsKey('items') } + (plain ? [[kind: 'git', items: plain]] : [])
    }

    void assign(String name, Object value) { assigned[name] = String.valueOf(value) }

    void worsen(Result other) {
        worsenForNow(other)
        lasting = lasting == null ? other : lasting.combine(other)
    }

    /** By the error of a stage, which a `retry` around it may still undo. */
    void worsenForNow(Result other) { result = result == null ? other : result.combine(other) }

    void forgetErrors() { result = lasting }

    void log(String line, Context context = null) {
        String masked = line
        context?.all('activity')?.each { Timeout.activity(this, it as int) }
        context?.secrets()?.values()?.findAll()?.sort { -it.length() }?.each { masked = masked.replace(it, '****') }
        masked.split('\n', -1).each {
            console << it
            lineBranches << (context == null ? null : context['branch'] as String)
            world.ask.call([event: 'log', job: job.name, build: number, line: it])
        }
    }

    void libraryCall(String name, Object[] args) {
        steps << [name: name, library: true, arguments: Plain.of(args.toList()), stage: Engine.thread.context['stage'], branch: Engine.thread.context['branch']]
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
        } catch (AsInJenkins refused) {
            call.fail(refused.cause)
        } catch (MissingMethodException | MissingPropertyException | ClassCastException | NullPointerException error) {
            List<StackTraceElement> where = error.stackTrace.findAll { it.className.startsWith('jenkinsfile.') }.take(4)
            call.fail(refuse("fault of the harness in the step ${call.name}: ${error} at ${where}"))
        } catch (Throwable error) {
            call.fail(error)
        } finally {
            starting = null
        }
    }

    private void record(Call call) {
        Map step = [name: call.name, call: call.id, library: false, stage: call.context['stage'], branch: call.context['branch'],
                    container: call.context['container']?.image, node: call.context['node'],
                    arguments: Secrets.hide(Plain.of(call.arguments), call.context)]
        steps << step
        if (call.name == 'stage') {
            stages << [name: call.text('name'), call: call.id, id: "${call.id}" as String, parents: call.context.all('stage'), status: 'RUNNING']
        }
    }

    /** Called by a step that has its outcome. */
    void finished(Call call) {
        if (call.outcome.failure) { ErrorAction.mark(call.outcome.abnormal) }
        StepDefinition step = Steps.of(call)
        boolean withoutBody = call.outcome.success && !call.state.started
        if (step.block && !withoutBody) { log("[Pipeline] // ${call.name}", call.context) }
        steps.find { it.call == call.id }?.error = call.outcome.abnormal?.toString()
        if (call.name == 'stage') { endStage(call) }
        if (!call.is(starting)) { world.ready(this, call) }
    }

    private void endStage(Call call) {
        Map stage = stages.find { it.call == call.id }
        if (stage == null || stage.status == 'SKIPPED') { return }
        Result worst = warnings[stage.id] ?: Result.SUCCESS
        if (call.outcome.failure) { worst = worst.combine(resultOf(call.outcome.abnormal)) }
        stage.status = worst.name()
    }

    /** Start a body of a block step in a thread of its own. */
    void startBody(Map options = [:], Call call) {
        Context context = options.context != null ? call.context + options.context : call.context
        log("[Pipeline] {${options.label ? " (${options.label})" : ''}", context)
        CpsThread body = new CpsThread(id: program.nextId(), context: context, ownerCall: call.id, branch: options.branch as String)
        CpsThread caller = Engine.thread
        call.state.started = true
        program.threads << body
        Object runs = options.body ?: call.body
        Object begun = runs instanceof PipelineScript ? Engine.start(this, runs) : Engine.start(this, runs as Closure, (options.arguments ?: []) as Object[])
        Engine.thread = caller
        if (begun instanceof Continuable) {
            body.program = begun
            world.ready(this, body)
        } else {
            world.later(0) {
                CpsThread ended = program.thread(body.id)
                program.threads.remove(ended)
                this.ended(ended, begun as Outcome)
            }
        }
    }

    /** A thread ran to its end. */
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
            gaps.findAll { !it.place }.each { it.place = place(program.thread(owner.thread).program.stackTrace.toList()) }
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
        world.forget(this, call)
        call.fail(error)
    }

    void interruptIfAsked(CpsThread thread) {
        if (thread.interruption != null && thread.call.outcome == null) {
            Throwable error = thread.interruption
            thread.interruption = null
            interrupt(thread.call, error)
        }
    }

    void mismatch(String message) {
        unlocated << message
        log(message)
    }

    /** The CPS stack is known again only at the next step, so that is what a mismatch can name. */
    void locateMismatches(CpsThread thread) {
        StackTraceElement where = thread.program.stackTrace.find()
        unlocated.each { mismatches << "${it} (${where ? "at or before ${where}" : 'after the last step'})".toString() }
        unlocated.clear()
    }

    /** The script asks for what this harness lacks: its build has no result, and no further step starts. */
    NotInHarness refuse(String what) {
        NotInHarness error = new NotInHarness(what)
        gaps << [what: what, error: error]
        error
    }

    /** A step that a plugin would bring ended the build, or a part of it: Jenkins may well have that plugin. */
    void refuseMissingPlugin(Throwable error) {
        String name = error instanceof NoSuchMethodError ? (error.message =~ /^No such DSL method '(\w+)'/).collect { it[1] }.find() : null
        String gap = name == null ? null : Plugins.gap(name)
        if (gap != null) { gaps << [what: gap, error: error] }
    }

    /** An unknown name ended the build, and no library was given that could have it. */
    void refuseUnknown(Throwable error) {
        refuseMissingPlugin(error)
        if (gaps) { return }
        if (error instanceof CredentialNotFoundException && scenario.credentialsUnknown) {
            gaps << [what: "the scenario has no credentials, and the script wants some (${error.message}): credentials={'ID': {...}}, or --credentials FILE", error: error]
        }
        if (code.libraries || !(error instanceof NoSuchMethodError)) { return }
        (error.message =~ /^No such DSL method '(\w+)'/).each { whole, name ->
            if (name in DeclarativeParser.SECTIONS.pipeline + DeclarativeParser.SECTIONS.stage) { return }
            gaps << [what: "'${name}' is no step that this harness knows, and the scenario has no library: library=PATH, or --library DIR or " +
                     "JENKINSFILE_LIBRARY of the command; a step is answered with steps={'${name}': ...}, or --step ${name}", error: error]
        }
    }

    void locateGaps(CpsThread thread) {
        gaps.findAll { !it.place }.each { Map gap ->
            gap.place = place((gap.error as Throwable).stackTrace.toList() + thread.program.stackTrace.toList())
        }
        if (gaps && !stopping) {
            stopping = true
            interruptAll(gaps[0].error as Throwable)
        }
    }

    /** What the script asked for and did not get, each with its place. */
    List<String> describeGaps() {
        gaps.collect { Map gap ->
            boolean located = gap.error instanceof NotInHarness && gap.error.located
            String where = located ? null : gap.place ?: place((gap.error as Throwable).stackTrace.toList())
            where ? "${where}: ${gap.what}".toString() : gap.what as String
        }
    }

    private String place(List<StackTraceElement> frames) {
        StackTraceElement where = frames.find { it.lineNumber > 0 && (it.fileName == 'WorkflowScript' || ofLibrary(it.className)) }
        where == null ? null : "${where.fileName}:${where.lineNumber}"
    }

    private boolean ofLibrary(String type) { code?.classes?.containsKey(type) && !type.startsWith('jenkinsfile.') }

    void notSaved(CpsThread thread) {
        StackTraceElement where = thread.program.stackTrace.find { it.fileName != 'ModelInterpreter.groovy' }
        List<String> way = Unsaved.path(program).collect { "in field ${it}" } + "in ${where}"
        unsaved = "an exception which occurred:\n\t${way.join('\n\t')}"
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
        if (unsaved && outcome.failure) { log(unsaved) }
        if (outcome.failure) { refuseUnknown(outcome.abnormal) }
        boolean worse = result?.isWorseThan(Result.FAILURE) // then Jenkins says no more
        if (outcome.failure && !gaps && (!worse || outcome.abnormal instanceof FlowInterruptedException)) { explain(outcome.abnormal) }
        end(outcome.failure ? resultOf(outcome.abnormal) : Result.SUCCESS)
    }

    private void end(Result last) {
        worsen(last)
        finished = true
        stages.findAll { it.status == 'RUNNING' }.each { it.status = last.name() }
        if (!gaps) { log("Finished: ${result}") }
        BuildSteps.ended(this)
        job.freed()
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

    /** The trace of an error, its cause first, with the frames of scripts, which are what a reader of the console wants. */
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

/** Values as JSON can carry them. */
class Plain {
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
