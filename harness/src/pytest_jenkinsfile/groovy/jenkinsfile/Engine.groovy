package jenkinsfile

import com.cloudbees.groovy.cps.Continuable
import com.cloudbees.groovy.cps.Continuation
import com.cloudbees.groovy.cps.Envs
import com.cloudbees.groovy.cps.Outcome
import com.cloudbees.groovy.cps.impl.CpsCallableInvocation
import com.cloudbees.groovy.cps.impl.SourceLocation
import groovy.transform.CompileStatic

/** Runs a thread of a program to its next step, where the program is saved and reloaded. */
class Engine {
    static Run run
    static CpsThread thread
    private static final List CATEGORIES = Continuable.categories + [SerializableIterators]

    /** Continue `thread` with the outcome of its step, up to its next step or its end. */
    static void resume(Run current, CpsThread resumed, Outcome outcome) {
        run = current
        thread = resumed
        resumed.call = null
        Controller.current.unsavedRuns << current
        CpsCallableInvocation.registerMismatchHandler(Engine.&mismatch as CpsCallableInvocation.MismatchHandler)
        Thread.currentThread().contextClassLoader = current.loader
        Outcome result
        try {
            result = resumed.program.run0(outcome, CATEGORIES)
        } finally {
            Controller.current.clock.paused()
            CpsCallableInvocation.registerMismatchHandler(null)
        }
        current.locateMismatches(resumed)
        current.locateUnsupported(resumed)
        if (resumed.program.resumable) {
            suspended(current, resumed.id)
        } else {
            current.program.threads.remove(resumed)
            current.ended(resumed, result)
        }
    }

    /** Start a step that CPS or non-CPS code called. */
    static Object invokeStep(String name, Object[] args, boolean fromLibrary = false) {
        if (run.unsupported) { throw run.unsupported[0].error as Throwable }
        StepDefinition step = Steps.find(run, name, args)
        if (step.symbol) { return step.symbol }
        CpsThread caller = thread
        Call call = new Call(id: run.program.nextId(), thread: caller.id, name: name, fromLibrary: fromLibrary, context: caller.context, run: run)
        step.readArguments(call, args)
        caller.call = call
        run.startStep(step, call, args)
        if (step.sync && calledFromNonCps()) {
            caller.call = null
            return call.outcome.replay()
        }
        Continuable.suspend(name, call.id)
    }

    /** A continuable that calls `body`, or its outcome if the closure is not CPS code. */
    static Object start(Run current, Closure body, Object[] args) {
        run = current
        try {
            return new Outcome(body.call(*args), null)
        } catch (CpsCallableInvocation invocation) {
            return new Continuable(invocation.invoke(Envs.empty(current.invoker()), SourceLocation.UNKNOWN, Continuation.HALT))
        }
    }

    static Continuable start(Run current, PipelineScript script) { new Continuable(script, Envs.empty(current.invoker())) }

    private static void suspended(Run current, int threadId) {
        Call call = current.program.thread(threadId).call
        if (call.outcome != null) { Controller.current.ready(current, call) }
        current.deliverInterruption(current.program.thread(threadId))
    }

    /** Save a program when all of its threads wait, as Jenkins does; load it again if restarts are simulated. */
    static void checkpoint(Run current) {
        if (current.finished || !current.program.threads) { return }
        try {
            byte[] saved = save(current.program)
            if (current.reloads) { current.program = load(current, saved) }
        } catch (ObjectStreamException | UnsupportedOperationException | ClassNotFoundException error) {
            failSerialization(current, error)
        }
    }

    /** Fail the newest thread, as Jenkins does, whichever thread holds the object. */
    private static void failSerialization(Run current, Exception error) {
        CpsThread thread = current.program.threads.max { it.id }
        current.failSerialization(thread)
        Call call = thread.call
        Controller.current.detach(current, call)
        call.outcome = null
        call.run = current
        call.fail(error)
    }

    private static byte[] save(Program program) {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream()
        new ObjectOutputStream(bytes).withCloseable { it.writeObject(program) }
        bytes.toByteArray()
    }

    private static Program load(Run current, byte[] saved) {
        current.loader = current.code.newLoader()
        ClassLoader loader = current.loader
        Program program = new ProgramInputStream(new ByteArrayInputStream(saved), loader).withCloseable { it.readObject() }
        program.threads.each { it.call?.run = current }
        program
    }

    private static void mismatch(Object expected, String expectedMethod, Object actual, String actualMethod) {
        boolean variable = expected instanceof PipelineScript && (Globals.isGlobal(expectedMethod) || expected.binding.hasVariable(expectedMethod))
        if (variable && actualMethod == 'call') { return }
        if (expectedMethod in ['print', 'println', 'printf'] && actualMethod == 'echo') { return }
        if (expectedMethod == 'evaluate' && actualMethod == 'run') { return }
        if (expected == Spread || expected.getClass().name.startsWith('jenkinsfile.')) { return }
        String where = [named(expected), expectedMethod].findAll().join('.')
        String instead = [actual == null ? null : named(actual), actualMethod].findAll().join('.')
        run.mismatch("expected to call ${where} but wound up catching ${instead}; see: https://jenkins.io/redirect/pipeline-cps-method-mismatches/")
    }

    private static String named(Object receiver) { receiver instanceof Class ? receiver.name : receiver.getClass().name }

    /** Whether a method of the pipeline is on the Java stack, where CPS code never is. */
    private static boolean calledFromNonCps() {
        StackWalker.getInstance(StackWalker.Option.RETAIN_CLASS_REFERENCE).walk { frames ->
            frames.takeWhile { !it.className.startsWith('com.cloudbees.groovy.cps.impl.') }
                .anyMatch { it.declaringClass.classLoader instanceof ProgramClassLoader }
        }
    }
}

/** Reads a saved program with the classes of one class loader. */
@CompileStatic
class ProgramInputStream extends ObjectInputStream {
    private static final Map<String, Class> PRIMITIVES = [
        boolean: Boolean.TYPE, byte: Byte.TYPE, char: Character.TYPE, short: Short.TYPE, int: Integer.TYPE,
        long: Long.TYPE, float: Float.TYPE, double: Double.TYPE, void: Void.TYPE,
    ] as Map<String, Class>
    private final ClassLoader loader

    ProgramInputStream(InputStream stream, ClassLoader loader) {
        super(stream)
        this.loader = loader
    }

    @Override
    protected Class<?> resolveClass(ObjectStreamClass described) throws IOException, ClassNotFoundException {
        String name = described.name
        name.startsWith('[') ? Class.forName(name, false, loader) : PRIMITIVES[name] ?: loader.loadClass(name)
    }
}
