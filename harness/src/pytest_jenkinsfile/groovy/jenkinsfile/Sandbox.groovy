package jenkinsfile

import com.cloudbees.groovy.cps.impl.CallSiteBlock
import com.cloudbees.groovy.cps.sandbox.DefaultInvoker
import com.cloudbees.groovy.cps.sandbox.Invoker
import com.cloudbees.groovy.cps.sandbox.Trusted
import com.cloudbees.groovy.cps.sandbox.Untrusted
import org.jenkinsci.plugins.scriptsecurity.sandbox.RejectedAccessException
import org.jenkinsci.plugins.workflow.cps.CpsClosure2
import org.jenkinsci.plugins.workflow.steps.FlowInterruptedException
import org.jenkinsci.plugins.workflow.support.steps.build.RunWrapper

/** Tags the call sites of a Jenkinsfile, which the sandbox checks; those of trusted libraries have no tag. */
class SandboxTransformer extends PipelineTransformer {
    @Override
    protected Class getTrustTag() { Untrusted }
}

/** Replaces the system time by that of the scenario. */
class ClockInvoker extends DefaultInvoker {
    @Override
    Object methodCall(Object receiver, String method, Object[] args) throws Throwable {
        receiver.is(System) && method == 'currentTimeMillis' && args.length == 0 ? Controller.current.clock.read() : super.methodCall(receiver, method, args)
    }

    @Override
    Object constructorCall(Class type, Object[] args) throws Throwable {
        type.is(Date) && args.length == 0 ? new Date(Controller.current.clock.read()) : super.constructorCall(type, args)
    }
}

/**
 * Refuses, in untrusted CPS code, frequent calls that the sandbox of Jenkins does not permit. It is a
 * deny list: a call that passes here may still be refused by Jenkins, which has an allow list.
 */
class SandboxInvoker extends ClockInvoker {
    private static final String DEFAULT_METHODS = 'org.codehaus.groovy.runtime.DefaultGroovyMethods'
    private static final String ENCODING_METHODS = 'org.codehaus.groovy.runtime.EncodingGroovyMethods'

    @Override
    Invoker contextualize(CallSiteBlock site) {
        site.tags.contains(Trusted.INSTANCE) ? new ClockInvoker() : this
    }

    @Override
    Object methodCall(Object receiver, String method, Object[] args) throws Throwable {
        if (receiver == Spread) {
            switch (method) {
                case 'call': return Spread.dispatch(this, *args)
                case 'construct': return constructorCall(args[0] as Class, (args[1] as List).toArray())
                default: return super.methodCall(receiver, method, args)
            }
        }
        String refused = receiver instanceof Class ? ofStatic(receiver, method, args) : ofInstance(receiver, method)
        if (receiver instanceof CpsClosure2 && method == 'printf' && args.length != 2) {
            refused = "staticMethod ${DEFAULT_METHODS} printf java.lang.Object java.lang.String java.lang.Object[]"
        }
        check(refused)
        super.methodCall(receiver, method, args)
    }

    @Override
    Object constructorCall(Class type, Object[] args) throws Throwable {
        if (type in [File, FileInputStream, FileOutputStream, URL, Thread, GroovyShell, ProcessBuilder] ||
            type.name in ['groovy.json.JsonSlurper', 'groovy.json.JsonSlurperClassic']) {
            check("new ${signature(type.name, args)}")
        }
        super.constructorCall(type, args)
    }

    @Override
    Object getProperty(Object receiver, String property) throws Throwable {
        String getter = 'get' + property.capitalize()
        check(receiver instanceof Class ? null : ofInstance(receiver, getter))
        if (receiver == System) { check("staticField java.lang.System ${property}") }
        if (receiver instanceof File && property in ['text', 'bytes']) {
            check("staticMethod org.codehaus.groovy.runtime.ResourceGroovyMethods ${getter} java.io.File")
        }
        super.getProperty(receiver, property)
    }

    @Override
    Object getArray(Object receiver, Object index) throws Throwable {
        if (receiver instanceof EnvironmentVariables) {
            check("staticMethod ${DEFAULT_METHODS} getAt java.lang.Object java.lang.String")
        }
        super.getArray(receiver, index)
    }

    private static String ofStatic(Class type, String method, Object[] args) {
        boolean refused = type.name == 'jenkins.model.Jenkins' || type in [System, Runtime, Thread] ||
            (type in [java.time.Instant, java.time.LocalDate, java.time.LocalDateTime] && method == 'now') ||
            (type == java.security.MessageDigest && method == 'getInstance')
        if (type == System && method == 'currentTimeMillis') { return null }
        refused ? "staticMethod ${type.name} ${signature(method, args)}" : null
    }

    private static String ofInstance(Object receiver, String method) {
        if (receiver instanceof FlowInterruptedException && method in ['getCauses', 'getResult']) {
            return "method ${FlowInterruptedException.name} ${method}"
        }
        if (receiver instanceof RunWrapper && method == 'getRawBuild') {
            return 'method org.jenkinsci.plugins.workflow.support.steps.build.RunWrapper getRawBuild'
        }
        if (receiver instanceof EnvironmentVariables && method == 'getEnvironment') {
            return 'method org.jenkinsci.plugins.workflow.support.actions.EnvironmentAction getEnvironment'
        }
        if (method == 'execute' && (receiver instanceof CharSequence || receiver instanceof List)) {
            return "staticMethod ${DEFAULT_METHODS} execute ${typeName(receiver)}"
        }
        if (method in ['encodeBase64', 'decodeBase64', 'encodeHex'] && (receiver instanceof byte[] || receiver instanceof String)) {
            return "staticMethod ${ENCODING_METHODS} ${method} ${typeName(receiver)}"
        }
        null
    }

    private static String signature(String name, Object[] args) { ([name] + args.collect { typeName(it) }).join(' ') }

    private static String typeName(Object value) {
        if (value == null) { return 'null' }
        if (value instanceof byte[]) { return 'byte[]' }
        value instanceof GString ? 'java.lang.String' : value.getClass().name
    }

    private static void check(String refused) {
        if (refused != null) {
            Engine.run?.log("Scripts not permitted to use ${refused}. Administrators can decide whether to approve or reject this signature.")
            throw new RejectedAccessException(refused)
        }
    }
}
