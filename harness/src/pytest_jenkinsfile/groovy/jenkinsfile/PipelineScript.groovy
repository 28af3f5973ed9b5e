package jenkinsfile

import com.cloudbees.groovy.cps.SerializableScript
import org.codehaus.groovy.runtime.InvokerHelper

/** The base class of a Jenkinsfile and of a library's `vars`; calls to undefined methods are steps. */
abstract class PipelineScript extends SerializableScript {
    /** The script that loaded this one; undeclared variables are shared with it. */
    private PipelineScript shares

    /** A method, since a property of a script is one of its variables. */
    void shareWith(PipelineScript other) { this.@shares = other }

    @Override
    Object invokeMethod(String name, Object args) {
        Object[] list = InvokerHelper.asArray(args)
        Object variable = Globals.callable(this, name)
        if (variable != null) {
            Engine.run.recordLibraryCall(name, list)
            return InvokerHelper.getMetaClass(variable).invokeMethod(variable, 'call', list)
        }
        Engine.invokeStep(name, list, shares == null && this.class.name != 'WorkflowScript')
    }

    @Override
    Object getProperty(String name) {
        if (Globals.isGlobal(name)) { return Globals.get(this, name) }
        try {
            return super.getProperty(name)
        } catch (MissingPropertyException missing) {
            if (shares?.binding?.hasVariable(name)) { return shares.binding.getVariable(name) }
            String value = Engine.run.variables(Engine.thread.context)[name]
            if (value != null) { return value }
            if (Plugins.GLOBALS[name]) {
                Steps.reportUnsupported(Engine.run, "the global variable '${name}' of the plugin ${Plugins.GLOBALS[name]} is not supported by pytest-jenkinsfile")
            }
            if (name in Plugins.PACKAGES) {
                Steps.reportUnsupported(Engine.run, "classes of Jenkins in '${name}' are not supported by pytest-jenkinsfile, except those that it needs itself")
            }
            throw missing
        }
    }

    @Override
    void setProperty(String name, Object value) {
        boolean declared = metaClass.hasProperty(this, name) != null
        if (!declared && value != null) {
            Engine.run.log("Did you forget the `def` keyword? ${this.class.simpleName} seems to be setting a field named ${name} " +
                "(to a value of type ${value.class.simpleName}) which could lead to memory leaks or other issues.", Engine.thread.context)
        }
        if (declared || shares == null) {
            super.setProperty(name, value)
        } else {
            shares.binding.setVariable(name, value)
        }
    }

    /** Compile and run a text as the script itself is compiled. */
    @Override
    Object evaluate(String text) { Engine.run.compileScript(text).run() }

    /** Calls the step; Groovy would call its own `sleep`. */
    Object sleep(long seconds) { invokeMethod('sleep', [seconds] as Object[]) }

    @Override
    void println() { invokeMethod('echo', [''] as Object[]) }

    @Override
    void print(Object value) { println(value) }

    @Override
    void println(Object value) { invokeMethod('echo', [String.valueOf(value)] as Object[]) }

    @Override
    void printf(String format, Object value) { println(String.format(format, value)) }

    @Override
    void printf(String format, Object[] values) { println(String.format(format, values)) }

    @Override
    String toString() { "${this.class.name}@${Integer.toHexString(hashCode())}" }
}

/** `steps`: calls steps from library classes. */
class StepsObject implements Serializable {
    Object invokeMethod(String name, Object args) { Engine.invokeStep(name, InvokerHelper.asArray(args), true) }

    Object sleep(long seconds) { Engine.invokeStep('sleep', [seconds] as Object[]) }
}
