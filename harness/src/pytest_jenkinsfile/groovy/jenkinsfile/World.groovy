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
class World {
    /** The moment at which the clock of a scenario starts. */
    static final long EPOCH = Date.parse('yyyy-MM-dd HH:mm:ss Z', '2026-01-01 00:00:00 +0000').time
    static World current

    final Map scenario
    final Closure ask
    final File root
    final Map<String, Job> jobs = [:]
    final List<Agent> agents
    final Clock clock
    final Map<String, List<Object>> lockHolders = [:]
    final List<Map> lockQueue = []
    final List<Map> agentQueue = []
    final Set<String> knownLocks = [] as Set
    /** Builds that ran since they were last saved. */
    final Set<Run> unsavedRuns = [] as Set
    /** What other Java threads report: ends and output of processes. */
    final BlockingQueue<Closure> reports = new LinkedBlockingQueue<>()
    final Map<String, Object> processes = [:]
    private final ArrayDeque<Map> readyQueue = new ArrayDeque<>()
    /** By their moment; a limit that ends at the same one goes first. */
    private final Queue<Map> timers = new PriorityQueue<>({ a, b ->
        a.at <=> b.at ?: (a.what == 'timeout' ? 0 : 1) <=> (b.what == 'timeout' ? 0 : 1) ?: a.order <=> b.order
    } as Comparator)
    private int order = 0

    World(Map scenario, Closure ask) {
        this.scenario = scenario
        this.ask = ask
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

    List<Run> runs() { jobs.values()*.runs.flatten() as List<Run> }

    Run build(String jobName, Map scenario, List<Map> causes, Map parameters) {
        Job job = job(jobName)
        Run run = new Run(job, scenario + [parameters: parameters], causes)
        Run same = job.waiting.find { it.parameterValues == run.parameterValues }
        if (same) {
            same.causes.addAll(causes)
            return same
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
        Map entry = [run: run, thread: call.thread, call: call.id, atOnce: step?.sync || step?.block]
        if (readyQueue.any { it.run.is(run) && it.call == call.id }) { return }
        if (step?.sync) { readyQueue.addFirst(entry) } else { readyQueue.addLast(entry) }
    }

    void ready(Run run, CpsThread thread) { readyQueue.addLast([run: run, thread: thread.id, call: null, atOnce: true]) }

    /** A call that is answered already, or will never be. */
    void forget(Run run, Call call) {
        readyQueue.removeAll { it.run.is(run) && it.call == call.id }
        timers.removeAll { it.run.is(run) && it.call == call.id }
        agentQueue.removeAll { it.run.is(run) && it.call == call.id }
        lockQueue.removeAll { it.run.is(run) && it.call == call.id }
    }

    /** The step of a call that failed from outside goes on: its end still wakes the thread, whatever that waits for then. */
    void abandon(Run run, Call call) {
        List<Map> left = timers.findAll { it.run.is(run) && it.call == call.id && it.what == 'sleep' }
        forget(run, call)
        left.each { Map timer -> timers << (timer + [abandoned: call.thread]) }
    }

    void at(long delay, Call call, String what) {
        timers << [at: clock.moment() + delay, order: order++, run: call.run, call: call.id, what: what]
    }

    void later(long delay, Closure action) { timers << [at: clock.moment() + delay, order: order++, action: action] }

    /** A number that grows with every use. */
    int order() { order++ }

    /** Let queued calls try again, first come first served. */
    void wake(List<Map> queue) { queue.toList().each { Map queued -> later(0) { retry(queued) } } }

    private static void retry(Map queued) {
        Call call = queued.run.program?.call(queued.call as int)
        if (call != null && call.outcome == null && !queued.run.program.bodies(call)) { Steps.of(call).event.call(call, 'retry') }
    }

    /** Run until every build has ended, or until nothing can go on without a person. */
    void loop() {
        while (true) {
            while (reports) { reports.poll().call() }
            if (advance()) {
                continue
            } else if (processes) {
                waitForReport()
            } else if (stuckAgents()) {
                continue
            } else if (timers) {
                passTime()
            } else if (!deadlocked) {
                return
            }
        }
    }

    /** Resume what can go on; what waited for a step that is no part of the program comes after the program was saved. */
    private boolean advance() {
        Map next = readyQueue.find { it.atOnce }
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

    private void passTime() {
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
        if (timer.abandoned) {
            Call other = timer.run.program?.thread(timer.abandoned as int)?.call
            if (other != null && other.outcome == null && !timer.run.finished) {
                other.outcome = new Outcome(null, null)
                current.ready(timer.run as Run, other)
            }
            return
        }
        Call call = timer.run.program?.call(timer.call)
        if (call != null && call.outcome == null && !timer.run.finished) { Steps.of(call).event.call(call, timer.what) }
    }

    /** The agents whose labels fit, else those that every label fits. */
    List<Agent> fitting(String label) { agents.findAll { it.matches(label) } ?: agents.findAll { it.anyLabel } }

    /** What is said of a label that no agent has; nothing where one has it. */
    List<String> missing(String label) {
        if (fitting(label)) { return [] }
        String known = agents.collect { ([it.name] + it.labels).unique().join(' ') }.join(', ')
        String remedy = "Give one: agents={'NAME': ['LABEL']}, or --agent LABELS of the command"
        ['Still waiting to schedule task', "No agent of the scenario has the label '${label}'; there are: ${known}. ${remedy}" as String]
    }

    /** A build that waits for an agent which does not exist is aborted by an administrator. */
    private boolean stuckAgents() {
        Map waiting = agentQueue.find { Map queued -> !fitting(queued.label as String) }
        if (waiting == null) { return false }
        abort(waiting.run as Run)
        true
    }

    /** A lock that its holder waits for, or a script whose shell was not found, ends only when somebody aborts the build. */
    private boolean isDeadlocked() {
        List<Run> open = runs().findAll { it.program != null && !it.finished && !it.waitsAt }
        Run hanging = open.find { run -> run.program.threads.any { it.call?.state?.hangs } }
        Run stuck = hanging ?: lockQueue.find { it.run in open }?.run
        if (stuck == null) { return false }
        abort(stuck)
        true
    }

    private void abort(Run run) {
        interrupt(run, Result.ABORTED, new CauseOfInterruption.UserInterruption(shortDescription: 'Aborted by admin', userId: 'admin'))
    }
}

/** The time of a scenario in milliseconds: it jumps over waits and runs while a process does. */
class Clock {
    long now
    private Long began

    /** What `System.currentTimeMillis()` gives a script: while it computes, time goes on. */
    long read() {
        if (began == null) { began = System.nanoTime() }
        World.EPOCH + moment()
    }

    /** The time within a thread that looked at the clock. */
    long moment() { began == null ? now : now + TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - began) }

    /** A thread has come to its next step; the time counts that it looked at the clock. */
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

/** A job: its builds, and what a build sets for the next one. */
class Job {
    final String name
    final List<Run> runs = []
    final List<Run> waiting = []
    Map properties = [parameters: []]
    boolean preserveStashes

    Job(String name) { this.name = name }

    void freed() {
        if (waiting && !runs.any { it.started != null && !it.finished }) { waiting.remove(0).start() }
    }
}

/** An agent: labels, executors, workspaces of its own. */
class Agent {
    final String name
    final List<String> labels
    final File workspaces
    final int executors
    final Map<Integer, File> busy = [:]
    /** Whether every label expression fits it. */
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

    /** Take an executor and a workspace that no running build uses. */
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
