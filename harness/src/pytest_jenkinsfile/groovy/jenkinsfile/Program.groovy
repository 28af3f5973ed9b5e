package jenkinsfile

import com.cloudbees.groovy.cps.Continuable
import com.cloudbees.groovy.cps.Outcome

/** The state of a build that survives a restart of the controller: one object graph, saved as a whole. */
class Program implements Serializable {
    final List<CpsThread> threads = []
    final Map<String, Object> libraryVariables = [:]
    boolean declarativeStarted
    PipelineScript script
    /** Number of scripts compiled while the build ran. */
    int compiledScripts
    private int lastId

    int nextId() { ++lastId }

    CpsThread thread(int id) { threads.find { it.id == id } }

    Call call(int id) { threads*.call.find { it?.id == id } }

    /** Whether `parallel` runs more than one branch, ended ones included. */
    boolean isBranched() { threads*.call.any { it?.name == 'parallel' && it.outcome == null && it.state.branches > 1 } }

    /** The threads that run the bodies of a call. */
    List<CpsThread> bodies(Call call) { threads.findAll { it.ownerCall == call.id } }
}

/** A CPS thread: runs the script, or the body of a block step. */
class CpsThread implements Serializable {
    int id
    Continuable program
    Context context
    Call call
    Integer ownerCall
    String branch
    Throwable interruption
    /** Whether the thread was interrupted before its body began, which then does not run. */
    boolean cancelled
}

/** A call of a step; it runs while `outcome` is null. */
class Call implements Serializable {
    int id
    int thread
    String name
    /** Whether a library called the step, not the script itself. */
    boolean fromLibrary
    Map<String, Object> arguments = [:]
    Closure body
    Context context
    Outcome outcome
    Map<String, Object> state = [:]
    transient Run run

    def getAt(String key) { arguments[key] }

    String text(String key, String fallback = null) { arguments[key] == null ? fallback : arguments[key] as String }

    boolean flag(String key, boolean fallback = false) {
        arguments[key] == null ? fallback : (arguments[key] as String).toBoolean()
    }

    void log(String line) { run.log(line, context) }

    void succeed(Object value = null) { finish(new Outcome(value, null)) }

    void fail(Throwable error) { finish(new Outcome(null, error)) }

    private void finish(Outcome result) {
        if (outcome == null) {
            outcome = result
            run.finished(this)
        }
    }
}

/** The context of a step: variables, workspace, container, secrets, stage. Immutable. */
class Context implements Serializable {
    private final Context outer
    private final Map<String, Object> values

    Context(Context outer, Map<String, Object> values) {
        this.outer = outer
        this.values = values
    }

    def getAt(String key) { values.containsKey(key) ? values[key] : outer?.getAt(key) }

    Context plus(Map<String, Object> more) { new Context(this, more) }

    /** Every value of this key, outermost first. */
    List all(String key) { (outer?.all(key) ?: []) + (values.containsKey(key) ? [values[key]] : []) }

    /** Secret values by the name of their variable. */
    Map<String, String> secrets() { all('secrets').inject([:]) { sum, some -> sum + some } as Map }
}
