package jenkinsfile

import com.cloudbees.groovy.cps.Outcome
import hudson.AbortException
import hudson.model.Result
import org.jenkinsci.plugins.pipeline.milestone.CancelledCause
import org.jenkinsci.plugins.workflow.cps.steps.ParallelStep
import org.jenkinsci.plugins.workflow.steps.FlowInterruptedException

/** Block steps: agents, workspaces, time limits, retries, parallel branches and locks. */
class FlowSteps {
    private static final long MIN_POLL_MILLIS = 250
    private static final long MAX_POLL_MILLIS = 15_000

    static void register() {
        defineBlocks()
        limits()
        polling()
        guards()
    }

    private static void defineBlocks() {
        ['script', 'timestamps'].each { name ->
            Steps.define(name: name, block: true, start: { Call call -> call.run.startBody(call) })
        }
        Steps.define(name: 'stage', main: 'name', block: true, start: { Call call ->
            call.run.startBody(call, label: call['name'], context: [stage: call.id as String, variables: [STAGE_NAME: call.text('name')]])
        })
        Steps.define(name: 'withEnv', main: 'overrides', block: true, start: { Call call ->
            Map<String, String> changes = new HashMap<>()
            (call['overrides'] as List<String>).each { String pair -> changes[pair.substring(0, pair.indexOf('='))] = pair.substring(pair.indexOf('=') + 1) }
            call.run.startBody(call, context: [variables: changes])
        })
        Steps.define(name: 'dir', main: 'path', block: true, needsWorkspace: true, start: { Call call ->
            File folder = FileSteps.file(call, call.text('path'))
            call.log("Running in ${folder.path}")
            call.run.startBody(call, context: [cwd: folder.path])
        })
        Steps.define(name: 'ws', main: 'dir', block: true, needsWorkspace: true, start: { Call call ->
            File path = new File(call.text('dir'))
            File folder = path.absolute ? path : new File(new File(call.context['workspace'] as String).parentFile, call.text('dir'))
            folder.mkdirs()
            call.log("Running in ${folder.path}")
            call.run.startBody(call, context: [cwd: folder.path, workspace: folder.path,
                                                nodeVariables: call.context['nodeVariables'] + [WORKSPACE: folder.path, WORKSPACE_TMP: "${folder.path}@tmp" as String]])
        })
        Steps.define(name: 'node', main: 'label', block: true, start: { Call call -> allocate(call) },
            event: { Call call, String what -> allocate(call) }, bodyEnded: { Call call, CpsThread body, Outcome outcome ->
                release(call)
                pass(call, outcome)
            })
        Steps.define(name: 'parallel', main: '*', block: true, start: { Call call -> parallel(call) }, bodyEnded: FlowSteps.&branchEnded)
    }

    private static void limits() {
        Steps.define(name: 'timeout', main: 'time', block: true, start: { Call call -> Timeout.start(call) },
            event: { Call call, String what -> Timeout.expire(call) }, bodyEnding: { Call call -> Timeout.check(call) },
            bodyEnded: { Call call, CpsThread body, Outcome outcome -> Timeout.ended(call, outcome) })
        Steps.define(name: 'retry', main: 'count', block: true, start: { Call call ->
            call.state.attemptsLeft = (call['count'] ?: 0) as int
            call.run.startBody(call)
        }, bodyEnded: { Call call, CpsThread body, Outcome outcome ->
            call.state.attemptsLeft = (call.state.attemptsLeft as int) - 1
            Throwable error = outcome.abnormal
            boolean interrupted = error instanceof FlowInterruptedException && error.actualInterruption
            if (outcome.success || interrupted || call['conditions'] || (call.state.attemptsLeft as int) <= 0) {
                pass(call, outcome)
            } else {
                call.run.reportMissingPlugin(error)
                if (!(error instanceof AbortException) && !(error instanceof FlowInterruptedException)) { call.log('ERROR: Execution failed') }
                call.run.explain(error, call.context)
                call.log('Retrying')
                call.run.startBody(call)
            }
        })
    }

    private static void polling() {
        Steps.define(name: 'waitUntil', main: 'initialRecurrencePeriod', block: true, start: { Call call ->
            call.state.period = Math.max(MIN_POLL_MILLIS, Math.min((call['initialRecurrencePeriod'] ?: 0) as long, MAX_POLL_MILLIS))
            call.state.begun = call.run.controller.clock.now
            call.run.startBody(call)
        }, event: { Call call, String what -> call.run.startBody(call) }, bodyEnded: { Call call, CpsThread body, Outcome outcome ->
            if (outcome.failure) {
                call.fail(outcome.abnormal)
            } else if (!(outcome.normal instanceof Boolean)) {
                call.fail(new ClassCastException("body return value ${outcome.normal} is not boolean"))
            } else if (outcome.normal) {
                call.succeed()
            } else {
                pollAgain(call, body)
            }
        })
    }

    private static void pollAgain(Call call, CpsThread body) {
        Controller controller = call.run.controller
        long period = call.state.period as long
        long limit = Text.millis(controller.scenario.pollLimit, 'SECONDS')
        if (controller.clock.now + period - (call.state.begun as long) > limit) {
            Steps.reportUnsupported(call.run, "waitUntil is still false after ${Text.span(limit)} of the scenario's clock, and Jenkins would poll on; " +
                'put a timeout around it, or make the condition true in the scenario')
        }
        if (!call.flag('quiet')) { call.run.log("Will try again after ${Text.span(period)}", body.context) }
        controller.scheduleEvent(period, call, 'waitUntil')
        call.state.period = Math.min((period * 1.2f) as long, MAX_POLL_MILLIS)
    }

    private static void guards() {
        Steps.define(name: 'catchError', main: 'message', block: true, start: { Call call -> call.run.startBody(call) },
            bodyEnded: { Call call, CpsThread body, Outcome outcome ->
                handleError(call, outcome, result(call, 'buildResult'), call.arguments.containsKey('stageResult') ? result(call, 'stageResult') : result(call, 'buildResult'))
            })
        Steps.define(name: 'warnError', main: 'message', block: true, start: { Call call -> call.run.startBody(call) },
            bodyEnded: { Call call, CpsThread body, Outcome outcome -> handleError(call, outcome, Result.UNSTABLE, Result.UNSTABLE) })
        Steps.define(name: 'lock', main: 'resource', block: true, start: { Call call -> Locks.request(call) },
            event: { Call call, String what -> Locks.tryAgain(call) },
            bodyEnded: { Call call, CpsThread body, Outcome outcome ->
                Locks.release(call)
                pass(call, outcome)
            }, stop: { Call call, Throwable error -> Locks.dequeue(call) })
        Steps.define(name: 'milestone', main: 'ordinal', sync: true, start: { Call call -> milestone(call) })
    }

    static void pass(Call call, Outcome outcome) { outcome.failure ? call.fail(outcome.abnormal) : call.succeed(outcome.normal) }

    private static void allocate(Call call) {
        Controller controller = call.run.controller
        String label = call.text('label', '')
        Agent agent = controller.matchingAgents(label).findAll { it.free }.min { it.lastUsed }
        if (agent == null) {
            if (!call.state.queued) {
                call.state.queued = true
                controller.noMatchingAgent(label).each { String line -> call.log(line) }
                controller.agentQueue << [run: call.run, call: call.id, label: label]
            }
            return
        }
        controller.agentQueue.removeAll { it.run.is(call.run) && it.call == call.id }
        agent.lastUsed = controller.order()
        Map allocation = agent.take(call.run.job.name, call.text('customWorkspace'))
        call.state.putAll(allocation)
        call.state.cookie = UUID.randomUUID() as String
        call.log("Running on ${agent.name == 'built-in' ? 'Jenkins' : agent.name} in ${allocation.workspace}")
        call.run.startBody(call, context: [node: agent.name, workspace: allocation.workspace, cwd: allocation.workspace, nodeVariables: [
            NODE_NAME: agent.name, NODE_LABELS: ([agent.name] + agent.labels).unique().join(' '), EXECUTOR_NUMBER: allocation.executor as String,
            WORKSPACE: allocation.workspace, WORKSPACE_TMP: "${allocation.workspace}@tmp" as String, JENKINS_NODE_COOKIE: call.state.cookie,
        ]])
    }

    private static void release(Call call) {
        Controller controller = call.run.controller
        Shell.killLeftovers(call.run, call.state.cookie as String)
        controller.agents.find { it.name == call.state.agent }?.busy?.remove(call.state.executor as int)
        controller.wake(controller.agentQueue)
    }

    private static void parallel(Call call) {
        Map branches = (call['value'] ?: [:]) as Map
        branches.each { name, body ->
            boolean fits = name == 'failFast' && body instanceof Boolean || body instanceof Closure
            if (!fits) { throw new IllegalArgumentException("Expected a closure or failFast but found ${name}=${String.valueOf((Object) body)}") }
        }
        call.state.failFast = branches.failFast instanceof Boolean && branches.failFast
        Map bodies = branches.findAll { it.value instanceof Closure }
        call.state.branches = bodies.size()
        call.state.values = new HashMap()
        call.state.errors = []
        if (!bodies) {
            call.log('No branches to run')
            call.state.started = true
            call.succeed(Collections.emptyMap())
            return
        }
        bodies.each { name, body ->
            call.run.startBody(call, body: body, label: "Branch: ${name}", branch: name, context: [branch: name as String])
        }
        call.state.open = bodies.size()
    }

    private static void branchEnded(Call call, CpsThread body, Outcome outcome) {
        call.state.open = (call.state.open as int) - 1
        if (outcome.failure) {
            call.run.log("Failed in branch ${body.branch}", body.context)
            (call.state.errors as List) << outcome.abnormal
            if (call.state.failFast && !call.state.stopped) {
                call.state.stopped = true
                FlowInterruptedException error = new FlowInterruptedException(Result.ABORTED,
                    new ParallelStep.FailFastCause(shortDescription: "Failed in branch ${body.branch}"))
                call.run.program.bodies(call).each { call.run.interrupt(it, error) }
            }
        } else {
            (call.state.values as Map)[body.branch] = outcome.normal
        }
        if ((call.state.open as int) == 0) {
            List<Throwable> errors = call.state.errors as List
            if (errors) {
                Throwable worstError = worst(errors)
                errors.findAll { !it.is(worstError) }.each { worstError.addSuppressed(it) }
                call.fail(worstError)
            } else {
                call.succeed(call.state.values)
            }
        }
    }

    /** The error that `parallel` throws: any other exception before an AbortException, that before an interruption; then the worse result, then the first. */
    private static Throwable worst(List<Throwable> errors) {
        errors.toSorted { a, b ->
            severity(a) <=> severity(b) ?: (a instanceof FlowInterruptedException ? b.result.ordinal() <=> a.result.ordinal() : 0)
        }[0]
    }

    private static int severity(Throwable error) { error instanceof FlowInterruptedException ? 2 : error instanceof AbortException ? 1 : 0 }

    /** The result in an argument; null leaves the result unchanged. */
    private static Result result(Call call, String name) {
        if (!call.arguments.containsKey(name)) { return Result.FAILURE }
        call[name] == null ? Result.SUCCESS : Result.fromString(call.text(name))
    }

    /** End `catchError` or `warnError`, which return null whatever their body returns. */
    private static void handleError(Call call, Outcome outcome, Result buildResult, Result stageResult) {
        Throwable error = outcome.abnormal
        boolean interruption = error instanceof FlowInterruptedException
        if (error == null || error instanceof UnsupportedError ||
            (interruption && error.actualInterruption && !call.flag('catchInterruptions', true))) {
            error == null ? call.succeed() : call.fail(error)
            return
        }
        call.run.reportMissingPlugin(error)
        if (call['message']) { call.log("ERROR: ${call['message']}") }
        call.run.explain(error, call.context)
        Result build = interruption ? error.result : buildResult
        Result before = call.run.result ?: Result.SUCCESS
        if (build.isWorseThan(before)) {
            call.log("Setting overall build result to ${build}")
            call.run.worsen(build)
        }
        Result stage = interruption ? error.result : stageResult
        if (stage != Result.SUCCESS) { ControlSteps.warn(call, stage) }
        call.succeed()
    }

    private static void milestone(Call call) {
        Run run = call.run
        if (run.program.branched) { throw new AbortException('Using a milestone step inside parallel is not allowed') }
        Integer ordinal = call['ordinal'] == null ? (run.milestone == null ? 0 : run.milestone + 1) : call['ordinal'] as int
        if (run.milestone != null && ordinal <= run.milestone) {
            throw new AbortException("Invalid ordinal ${ordinal}, as the previous one was ${run.milestone}")
        }
        call.log("Trying to pass milestone ${ordinal}")
        Run newer = run.job.runs.findAll { it.number > run.number && it.milestone != null && it.milestone >= ordinal }.max { it.number }
        if (newer != null) {
            run.worsen(Result.NOT_BUILT)
            throw new FlowInterruptedException(Result.NOT_BUILT, superseded(newer))
        }
        Integer previous = run.milestone
        run.milestone = ordinal
        run.job.runs.findAll { it.number < run.number && !it.finished && it.started != null && it.milestone == previous }.each {
            it.controller.interrupt(it, Result.NOT_BUILT, superseded(run))
        }
        call.succeed()
    }

    private static CancelledCause superseded(Run newer) {
        new CancelledCause(shortDescription: "Superseded by ${newer.job.name}#${newer.number}")
    }
}
