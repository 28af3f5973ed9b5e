package jenkinsfile

import com.cloudbees.groovy.cps.SerializableScript
import org.codehaus.groovy.runtime.InvokerHelper

/** The base class of a Jenkinsfile and of a library's `vars`: what they do not define is a step. */
abstract class PipelineScript extends SerializableScript {
    /** The script that loaded this one, whose undeclared variables it shares. */
    private PipelineScript shares

    /** A property of a script would be one of its variables. */
    void shareWith(PipelineScript other) { this.@shares = other }

    @Override
    Object invokeMethod(String name, Object args) {
        Object[] list = InvokerHelper.asArray(args)
        Object variable = Globals.callable(this, name)
        if (variable != null) {
            Engine.run.libraryCall(name, list)
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
            if (Plugins.GLOBALS[name]) { Steps.refuseGap(Engine.run, "the global variable '${name}' of the plugin ${Plugins.GLOBALS[name]} is not in this harness") }
            if (name in Plugins.PACKAGES) { Steps.refuseGap(Engine.run, "classes of Jenkins whose name starts with '${name}.' are in this harness only as far as it needs them") }
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

    /** A text is compiled as the script itself is. */
    @Override
    Object evaluate(String text) { Engine.run.evaluated(text).run() }

    /** Groovy would find its own `sleep` before the step. */
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

/** `steps`: lets library classes call steps. */
class StepsObject implements Serializable {
    Object invokeMethod(String name, Object args) { Engine.invokeStep(name, InvokerHelper.asArray(args), true) }

    Object sleep(long seconds) { Engine.invokeStep('sleep', [seconds] as Object[]) }
}
