package jenkinsfile

import com.cloudbees.groovy.cps.Outcome
import hudson.AbortException
import hudson.model.Result
import org.jenkinsci.plugins.pipeline.milestone.CancelledCause
import org.jenkinsci.plugins.workflow.cps.steps.ParallelStep
import org.jenkinsci.plugins.workflow.steps.FlowInterruptedException
import org.jenkinsci.plugins.workflow.steps.TimeoutStepExecution

/** Steps with bodies: where, how long, how often and beside what a body runs. */
class FlowSteps {
    private static final long SHORTEST_POLL = 250
    private static final long LONGEST_POLL = 15_000

    static void register() {
        surroundings()
        limits()
        polling()
        guards()
    }

    private static void surroundings() {
        ['script', 'timestamps'].each { name ->
            Steps.define(name: name, block: true, start: { Call call -> call.run.startBody(call) })
        }
        Steps.define(name: 'stage', main: 'name', block: true, start: { Call call ->
            call.run.startBody(call, label: call['name'], context: [stage: call.id as String, variables: [STAGE_NAME: call.text('name')]])
        })
        Steps.define(name: 'withEnv', main: 'overrides', block: true, start: { Call call ->
            Map<String, String> now = call.run.variables(call.context)
            Map<String, String> changes = [:]
            (call['overrides'] as List).each { changes.putAll(override(it as String, now + changes)) }
            call.run.startBody(call, context: [variables: changes])
        })
        Steps.define(name: 'dir', main: 'path', block: true, needsWorkspace: true, start: { Call call ->
            File folder = FileSteps.file(call, call.text('path'))
            call.log("Running in ${folder.path}")
            call.run.startBody(call, context: [cwd: folder.path])
        })
        Steps.define(name: 'ws', main: 'dir', block: true, needsWorkspace: true, start: { Call call ->
            File folder = new File(new File(call.context['workspace'] as String).parentFile, call.text('dir'))
            folder.mkdirs()
            call.log("Running in ${folder.path}")
            call.run.startBody(call, context: [cwd: folder.path, workspace: folder.path, variables: [WORKSPACE: folder.path]])
        })
        Steps.define(name: 'node', main: 'label', block: true, start: { Call call -> allocate(call) },
            event: { Call call, String what -> allocate(call) }, bodyEnded: { Call call, CpsThread body, Outcome outcome ->
                release(call)
                pass(call, outcome)
            })
        Steps.define(name: 'parallel', main: '*', block: true, start: { Call call -> parallel(call) }, bodyEnded: FlowSteps.&branchEnded)
    }

    private static void limits() {
        Steps.define(name: 'timeout', main: 'time', block: true, start: { Call call ->
            long limit = Text.millis(call['time'], call.text('unit', 'MINUTES'))
            call.log("Timeout set to expire in ${Text.span(limit)}")
            call.run.world.at(limit, call, 'timeout')
            call.run.startBody(call)
        }, event: { Call call, String what ->
            call.log('Cancelling nested steps due to timeout')
            call.state.expired = true
            FlowInterruptedException error = new FlowInterruptedException(Result.ABORTED,
                new TimeoutStepExecution.ExceededTimeout(shortDescription: 'Timeout has been exceeded'))
            call.run.program.bodies(call).each { call.run.interrupt(it, error) }
        }, bodyEnded: { Call call, CpsThread body, Outcome outcome ->
            if (call.state.expired && outcome.abnormal instanceof FlowInterruptedException) { outcome.abnormal.actualInterruption = false }
            pass(call, outcome)
        })
        Steps.define(name: 'retry', main: 'count', block: true, start: { Call call ->
            call.state.left = call['count'] as int
            call.run.startBody(call)
        }, bodyEnded: { Call call, CpsThread body, Outcome outcome ->
            call.state.left = (call.state.left as int) - 1
            Throwable error = outcome.abnormal
            boolean interrupted = error instanceof FlowInterruptedException && error.actualInterruption
            if (outcome.success || interrupted || call['conditions'] || (call.state.left as int) <= 0) {
                pass(call, outcome)
            } else {
                call.run.refuseMissingPlugin(error)
                call.run.explain(error, call.context)
                call.log('Retrying')
                call.run.startBody(call)
            }
        })
    }

    private static void polling() {
        Steps.define(name: 'waitUntil', main: 'initialRecurrencePeriod', block: true, start: { Call call ->
            call.state.period = Math.max(SHORTEST_POLL, Math.min((call['initialRecurrencePeriod'] ?: 0) as long, LONGEST_POLL))
            call.state.begun = call.run.world.clock.now
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
        World world = call.run.world
        long period = call.state.period as long
        long limit = Text.millis(world.scenario.pollLimit, 'SECONDS')
        if (world.clock.now + period - (call.state.begun as long) > limit) {
            Steps.lacking(call.run, "waitUntil is still false after ${Text.span(limit)} of the scenario's clock, and Jenkins would go on; " +
                'put a timeout around it, or let the scenario make it true')
        }
        if (!call.flag('quiet')) { call.run.log("Will try again after ${Text.span(period)}", body.context) }
        world.at(period, call, 'waitUntil')
        call.state.period = Math.min((period * 1.2f) as long, LONGEST_POLL)
    }

    private static void guards() {
        Steps.define(name: 'catchError', main: 'message', block: true, start: { Call call -> call.run.startBody(call) },
            bodyEnded: { Call call, CpsThread body, Outcome outcome ->
                caught(call, outcome, call.text('buildResult', 'FAILURE'), call.text('stageResult', call.text('buildResult', 'FAILURE')))
            })
        Steps.define(name: 'warnError', main: 'message', block: true, start: { Call call -> call.run.startBody(call) },
            bodyEnded: { Call call, CpsThread body, Outcome outcome -> caught(call, outcome, 'UNSTABLE', 'UNSTABLE') })
        Steps.define(name: 'lock', main: 'resource', block: true, start: { Call call -> lock(call) },
            event: { Call call, String what -> lock(call) },
            bodyEnded: { Call call, CpsThread body, Outcome outcome ->
                if (call.state.resource) {
                    call.log("Lock released on resource [Resource: ${call.state.resource}]")
                    unlock(call)
                }
                pass(call, outcome)
            }, stop: { Call call -> call.run.world.lockQueue.removeAll { it.run.is(call.run) && it.call == call.id } })
        Steps.define(name: 'milestone', main: 'ordinal', sync: true, start: { Call call -> milestone(call) })
    }

    static void pass(Call call, Outcome outcome) { outcome.failure ? call.fail(outcome.abnormal) : call.succeed(outcome.normal) }

    private static Map override(String text, Map<String, String> now) {
        int at = text.indexOf('=')
        String name = at < 0 ? text : text[0..<at]
        String value = at < 0 ? null : text.substring(at + 1)
        int plus = name.indexOf('+')
        if (plus < 0) { return [(name): value] }
        String path = name[0..<plus]
        [(path): now[path] ? "${value}:${now[path]}" as String : value]
    }

    private static void allocate(Call call) {
        World world = call.run.world
        String label = call.text('label', '')
        Agent agent = world.fitting(label).findAll { it.free }.min { it.lastUsed }
        if (agent == null) {
            if (!call.state.queued) {
                call.state.queued = true
                world.missing(label).each { String line -> call.log(line) }
                world.agentQueue << [run: call.run, call: call.id, label: label]
            }
            return
        }
        world.agentQueue.removeAll { it.run.is(call.run) && it.call == call.id }
        agent.lastUsed = world.order()
        Map taken = agent.take(call.run.job.name, call.text('customWorkspace'))
        call.state.putAll(taken)
        call.log("Running on ${agent.name == 'built-in' ? 'Jenkins' : agent.name} in ${taken.workspace}")
        call.run.startBody(call, context: [node: agent.name, workspace: taken.workspace, cwd: taken.workspace, variables: [
            NODE_NAME: agent.name, NODE_LABELS: ([agent.name] + agent.labels).unique().join(' '), EXECUTOR_NUMBER: taken.executor as String,
            WORKSPACE: taken.workspace, WORKSPACE_TMP: "${taken.workspace}@tmp" as String, JENKINS_NODE_COOKIE: call.run.cookie,
        ]])
    }

    private static void release(Call call) {
        World world = call.run.world
        world.agents.find { it.name == call.state.agent }.busy.remove(call.state.executor as int)
        world.wake(world.agentQueue)
    }

    private static void parallel(Call call) {
        Map branches = (call['value'] ?: [:]) as Map
        call.state.failFast = branches.failFast
        Map bodies = branches.findAll { it.key != 'failFast' }
        call.state.values = [:]
        call.state.errors = []
        if (bodies.isEmpty()) { // `.empty` would be a key of the map
            call.log('No branches to run')
            call.succeed([:])
            return
        }
        bodies.each { name, body ->
            if (!(body instanceof Closure)) { throw new IllegalArgumentException("Unknown class ${body?.getClass()} for branch ${name}") }
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
            errors ? call.fail(errors.find { !(it instanceof FlowInterruptedException) } ?: errors[0]) : call.succeed(call.state.values)
        }
    }

    private static void caught(Call call, Outcome outcome, String buildResult, String stageResult) {
        Throwable error = outcome.abnormal
        boolean interruption = error instanceof FlowInterruptedException
        if (error == null || error instanceof NotInHarness ||
            (interruption && error.actualInterruption && !call.flag('catchInterruptions', true))) {
            pass(call, outcome)
            return
        }
        call.run.refuseMissingPlugin(error)
        if (call['message']) { call.log("ERROR: ${call['message']}") }
        call.run.explain(error, call.context)
        Result build = interruption ? error.result : Result.valueOf(buildResult)
        Result before = call.run.result ?: Result.SUCCESS
        if (build.isWorseThan(before)) {
            call.log("Setting overall build result to ${build}")
            call.run.worsen(build)
        }
        Result stage = interruption ? error.result : Result.valueOf(stageResult)
        if (stage != Result.SUCCESS) { ControlSteps.warn(call, stage) }
        call.succeed()
    }

    private static void lock(Call call) {
        World world = call.run.world
        String name = call.text('resource') ?: call.text('label')
        if (name == null) { throw new IllegalArgumentException('Either resource or label must be specified') }
        if (!call.state.asked) {
            call.log("Trying to acquire lock on [Resource: ${name}]")
            if (world.knownLocks.add(name)) { call.log("Resource [${name}] did not exist. Created.") }
            call.state.asked = true
        }
        if (world.lockHolders[name]) {
            if (call.flag('skipIfLocked')) {
                call.log("[Resource: ${name}] is not free, skipping execution ...")
                call.succeed()
            } else if (!world.lockQueue.any { it.run.is(call.run) && it.call == call.id }) {
                call.log("[Resource: ${name}] is not free, waiting for execution ...")
                world.lockQueue << [run: call.run, call: call.id, resource: name]
            }
            return
        }
        world.lockHolders[name] = [call.run, call.id]
        call.state.resource = name
        world.lockQueue.removeAll { it.run.is(call.run) && it.call == call.id }
        call.log("Lock acquired on [Resource: ${name}]")
        call.run.startBody(call, context: call['variable'] ? [variables: [(call.text('variable')): name]] : [:])
    }

    private static void unlock(Call call) {
        World world = call.run.world
        world.lockHolders.remove(call.state.resource)
        world.wake(world.lockQueue.findAll { it.resource == call.state.resource })
    }

    private static void milestone(Call call) {
        Run run = call.run
        if (call.context['branch'] != null) { throw new AbortException('Using a milestone step inside parallel is not allowed') }
        Integer ordinal = call['ordinal'] == null ? (run.milestone ?: 0) + 1 : call['ordinal'] as int
        call.log("Trying to pass milestone ${ordinal}")
        if (run.milestone != null && ordinal <= run.milestone) {
            throw new AbortException("Invalid ordinal ${ordinal} for milestone, as the previous one was ${run.milestone}")
        }
        Run newer = run.job.runs.findAll { it.number > run.number && it.milestone != null && it.milestone >= ordinal }.max { it.number }
        if (newer != null) {
            run.worsen(Result.NOT_BUILT)
            throw new FlowInterruptedException(Result.NOT_BUILT, overtaken(newer))
        }
        Integer previous = run.milestone
        run.milestone = ordinal
        run.job.runs.findAll { it.number < run.number && !it.finished && it.started != null && it.milestone == previous }.each {
            it.world.interrupt(it, Result.NOT_BUILT, overtaken(run))
        }
        call.succeed()
    }

    private static CancelledCause overtaken(Run newer) {
        new CancelledCause(shortDescription: "Superseded by ${newer.job.name}#${newer.number}")
    }
}
