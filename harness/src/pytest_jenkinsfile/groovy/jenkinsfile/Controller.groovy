package jenkinsfile

import com.cloudbees.groovy.cps.Outcome
import hudson.model.Result
import java.util.concurrent.BlockingQueue
import java.util.concurrent.LinkedBlockingQueue
import java.util.concurrent.TimeUnit
import jenkins.model.CauseOfInterruption
import org.jenkinsci.plugins.workflow.job.properties.DisableConcurrentBuildsJobProperty
import org.jenkinsci.plugins.workflow.steps.FlowInterruptedException

/** The controller: jobs, builds, agents, locks, the clock, and the loop that drives them. */
class Controller {
    /** The time at which the clock of a scenario starts. */
    static final long EPOCH = Date.parse('yyyy-MM-dd HH:mm:ss Z', '2026-01-01 00:00:00 +0000').time
    static Controller current

    final Map scenario
    final Closure request
    final File root
    final Map<String, Job> jobs = [:]
    final List<Agent> agents
    final Clock clock
    final Map<String, List<Object>> lockHolders = [:]
    final List<Map> lockQueue = []
    final List<Map> agentQueue = []
    final Set<String> knownLocks = [] as Set
    /** Builds that ran since their programs were last saved. */
    final Set<Run> unsavedRuns = [] as Set
    /** Callbacks from other Java threads: output and exit of processes. */
    final BlockingQueue<Closure> reports = new LinkedBlockingQueue<>()
    final Map<String, Object> processes = [:]
    private final ArrayDeque<Map> readyQueue = new ArrayDeque<>()
    /** By time; of those at one time, a `timeout` first. */
    private final Queue<Map> timers = new PriorityQueue<>({ a, b ->
        a.at <=> b.at ?: (a.what == 'timeout' ? 0 : 1) <=> (b.what == 'timeout' ? 0 : 1) ?: a.order <=> b.order
    } as Comparator)
    private int order = 0

    Controller(Map scenario, Closure request) {
        this.scenario = scenario
        this.request = request
        this.root = new File(scenario.root as String)
        this.clock = new Clock()
        this.agents = (scenario.agents as Map).collect { name, labels -> new Agent(name as String, labels as List, root, scenario) }
        knownLocks.addAll((scenario.resources as Map).keySet() as Set<String>)
        current = this
    }

    Job job(String name) {
        jobs[name] = jobs[name] ?: new Job(name)
        jobs[name]
    }

    Run run(String jobName, int number) { jobs[jobName].runs.find { it.number == number } }

    /** The names of the jobs that have builds or are in the scenario. */
    Set<String> jobNames() { jobs.keySet() + (scenario.jobs as Map).keySet() }

    List<Run> runs() { jobs.values()*.runs.flatten() as List<Run> }

    Run build(String jobName, Map scenario, List<Map> causes, Map parameters) {
        Job job = job(jobName)
        Run run = new Run(job, scenario + [parameters: parameters], causes)
        Run queued = job.waiting.find { it.parameterValues == run.parameterValues }
        if (queued) {
            queued.causes.addAll(causes)
            return queued
        }
        job.runs << run
        List<Run> running = job.runs.findAll { it.started != null && !it.finished }
        if (job.properties.abortPrevious) {
            running.each {
                interrupt(it, Result.NOT_BUILT, new DisableConcurrentBuildsJobProperty.CancelledCause(shortDescription: "Superseded by ${run.displayName}"))
            }
        }
        if (job.properties.disableConcurrentBuilds && running) {
            job.waiting << run
        } else {
            run.start()
        }
        run
    }

    void interrupt(Run run, Result result, CauseOfInterruption cause) {
        run.log(cause.shortDescription)
        run.loggedCauses << cause.shortDescription
        run.interruptAll(new FlowInterruptedException(result, cause))
    }

    void ready(Run run, Call call) {
        StepDefinition step = Steps.of(call)
        Map entry = [run: run, thread: call.thread, call: call.id, immediate: step?.sync || step?.block]
        if (readyQueue.any { it.run.is(run) && it.call == call.id }) { return }
        if (step?.sync) { readyQueue.addFirst(entry) } else { readyQueue.addLast(entry) }
    }

    void ready(Run run, CpsThread thread) { readyQueue.addLast([run: run, thread: thread.id, call: null, immediate: true]) }

    /** Remove a call from all queues. */
    void dequeue(Run run, Call call) {
        readyQueue.removeAll { it.run.is(run) && it.call == call.id }
        timers.removeAll { it.run.is(run) && it.call == call.id }
        agentQueue.removeAll { it.run.is(run) && it.call == call.id }
        lockQueue.removeAll { it.run.is(run) && it.call == call.id }
    }

    /** Fail a call while its timer runs on: the timer later wakes the thread of the call, whatever it then waits for. */
    void detach(Run run, Call call) {
        List<Map> sleeping = timers.findAll { it.run.is(run) && it.call == call.id && it.what == 'sleep' }
        dequeue(run, call)
        sleeping.each { Map timer -> timers << (timer + [detached: call.thread]) }
    }

    void scheduleEvent(long delay, Call call, String what) {
        timers << [at: clock.moment() + delay, order: order++, run: call.run, call: call.id, what: what]
    }

    void schedule(long delay, Closure action) { timers << [at: clock.moment() + delay, order: order++, action: action] }

    /** An increasing number. */
    int order() { order++ }

    /** Let queued calls retry, in their order. */
    void wake(List<Map> queue) { queue.toList().each { Map queued -> schedule(0) { retry(queued) } } }

    private static void retry(Map queued) {
        Call call = queued.run.program?.call(queued.call as int)
        if (call != null && call.outcome == null && !queued.run.program.bodies(call)) { Steps.of(call).event.call(call, 'retry') }
    }

    /** Run until every build has ended or waits for input. */
    void loop() {
        while (true) {
            while (reports) { reports.poll().call() }
            if (advance()) {
                continue
            } else if (processes) {
                waitForReport()
            } else if (abortUnschedulable()) {
                continue
            } else if (timers) {
                advanceClock()
            } else if (!deadlocked) {
                return
            }
        }
    }

    /** Resume a thread that is ready. After a step that is not immediate, the program is saved first. */
    private boolean advance() {
        Map next = readyQueue.find { it.immediate }
        if (next != null) {
            readyQueue.remove(next)
            resume(next)
            return true
        }
        if (timers && timers.peek().action && timers.peek().at <= clock.now) {
            fire(timers.poll())
            return true
        }
        List<Run> unsaved = unsavedRuns.toList()
        unsavedRuns.clear()
        if (unsaved) {
            unsaved.each { Engine.checkpoint(it) }
            return true
        }
        next = readyQueue.poll()
        if (next != null) { resume(next) }
        next != null
    }

    private void resume(Map entry) {
        Run run = entry.run
        CpsThread thread = run.program?.thread(entry.thread)
        if (thread == null || run.finished) { return }
        if (entry.call == null && thread.cancelled) {
            run.program.threads.remove(thread)
            run.ended(thread, new Outcome(null, thread.interruption))
            return
        }
        Outcome outcome = entry.call == null ? new Outcome(null, null) : thread.call?.outcome
        if (outcome != null) { Engine.resume(run, thread, outcome) }
    }

    private void waitForReport() {
        long left = timers ? Math.max(0L, timers.peek().at - clock.now) : 3_600_000L
        Closure report = null
        clock.running { report = reports.poll(left, TimeUnit.MILLISECONDS) }
        report?.call()
        if (timers && timers.peek().at <= clock.now) { fire(timers.poll()) }
    }

    private void advanceClock() {
        Map timer = timers.poll()
        if (scenario.clock == 'real' && timer.what in ['sleep', 'waitUntil']) { Thread.sleep(Math.max(0L, timer.at - clock.now)) }
        clock.now = Math.max(clock.now, timer.at as long)
        fire(timer)
    }

    private static void fire(Map timer) {
        if (timer.action) {
            timer.action.call()
            return
        }
        if (timer.detached) {
            Call other = timer.run.program?.thread(timer.detached as int)?.call
            if (other != null && other.outcome == null && !timer.run.finished) {
                other.outcome = new Outcome(null, null)
                current.ready(timer.run as Run, other)
            }
            return
        }
        Call call = timer.run.program?.call(timer.call)
        if (call != null && call.outcome == null && !timer.run.finished) { Steps.of(call).event.call(call, timer.what) }
    }

    /** The agents with matching labels, otherwise those that match any label. */
    List<Agent> matchingAgents(String label) { agents.findAll { it.matches(label) } ?: agents.findAll { it.anyLabel } }

    /** The log lines for a label that no agent has; empty if one has it. */
    List<String> noMatchingAgent(String label) {
        if (matchingAgents(label)) { return [] }
        String available = agents.collect { ([it.name] + it.labels).unique().join(' ') }.join(', ')
        String hint = "Add one: agents={'NAME': ['LABEL']}, or --agent LABELS of the command"
        ['Still waiting to schedule task', "No agent of the scenario has the label '${label}'; there are: ${available}. ${hint}" as String]
    }

    /** Abort a build that waits for an agent that does not exist. */
    private boolean abortUnschedulable() {
        Map waiting = agentQueue.find { Map queued -> !matchingAgents(queued.label as String) }
        if (waiting == null) { return false }
        abort(waiting.run as Run)
        true
    }

    /** Abort a build that waits for a lock that it holds, or for a script whose shell was not found. */
    private boolean isDeadlocked() {
        List<Run> running = runs().findAll { it.program != null && !it.finished && !it.pendingInput }
        Run hanging = running.find { run -> run.program.threads.any { it.call?.state?.hangs } }
        Run stuck = hanging ?: lockQueue.find { it.run in running }?.run
        if (stuck == null) { return false }
        abort(stuck)
        true
    }

    private void abort(Run run) {
        interrupt(run, Result.ABORTED, new CauseOfInterruption.UserInterruption(shortDescription: 'Aborted by admin', userId: 'admin'))
    }
}

/** The time of a scenario in milliseconds: skips waits, and advances while processes run. */
class Clock {
    long now
    private Long began

    /** The value of `System.currentTimeMillis()` for a script; time advances while it computes. */
    long read() {
        if (began == null) { began = System.nanoTime() }
        Controller.EPOCH + moment()
    }

    /** The current time, also in a thread that has read the clock. */
    long moment() { began == null ? now : now + TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - began) }

    /** Stop the clock at the next step of a thread that has read it. */
    void paused() {
        now = moment()
        began = null
    }

    void running(Closure action) {
        long before = System.nanoTime()
        action.call()
        now += TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - before)
    }
}

/** A job: its builds, and the properties that a build sets for the next one. */
class Job {
    final String name
    final List<Run> runs = []
    final List<Run> waiting = []
    Map properties = [parameters: []]
    boolean preserveStashes

    Job(String name) { this.name = name }

    void startNext() {
        if (waiting && !runs.any { it.started != null && !it.finished }) { waiting.remove(0).start() }
    }
}

/** An agent: labels, executors and workspaces. */
class Agent {
    final String name
    final List<String> labels
    final File workspaces
    final int executors
    final Map<Integer, File> busy = [:]
    /** Whether it matches every label expression. */
    final boolean anyLabel
    long lastUsed = -1

    Agent(String name, List<String> labels, File root, Map scenario) {
        this.name = name
        this.labels = labels
        this.executors = scenario.executors ?: 2
        this.anyLabel = scenario.anyLabel
        this.workspaces = new File(root, "agents/${name}/workspace")
    }

    boolean matches(String label) { !label?.trim() || LabelExpression.fits(label, labels + [name]) }

    boolean isFree() { busy.size() < executors }

    /** Allocate an executor and a workspace that no running build uses. */
    Map take(String jobName, String custom) {
        int executor = (0..<executors).find { !busy.containsKey(it) }
        String base = custom ?: jobName.replaceAll('[^A-Za-z0-9._-]+', '_')
        File workspace = [base, *(2..executors + 1).collect { "${base}@${it}" }].collect { new File(workspaces, it as String) }
            .find { !(it in busy.values()) }
        workspace.mkdirs()
        busy[executor] = workspace
        [agent: name, executor: executor, workspace: workspace.path]
    }
}
