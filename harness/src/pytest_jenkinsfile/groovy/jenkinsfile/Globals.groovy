package jenkinsfile

import hudson.AbortException
import org.codehaus.groovy.runtime.InvokerHelper
import org.jenkinsci.plugins.workflow.support.steps.build.RunWrapper

/** The global variables of a pipeline: `env`, `params`, `currentBuild`, `scm`, `docker`, `steps`, and those of libraries. */
class Globals {
    static final List<String> NAMES = ['env', 'params', 'currentBuild', 'scm', 'docker', 'steps', 'pipeline']

    static boolean isGlobal(String name) { name in NAMES || Engine.run?.code?.isVariable(name) }

    static Object get(PipelineScript script, String name) {
        switch (name) {
            case 'env': return new EnvironmentVariables()
            case 'params': return Engine.run.parameters()
            case 'currentBuild': return new RunWrapper(Engine.run.job.name, Engine.run.number)
            case 'steps': return new StepsObject()
            case 'scm': return Scm.of(Engine.run)
            case 'docker': return cps('jenkinsfile.cps.Docker', script)
            case 'pipeline': return cps('jenkinsfile.cps.ModelInterpreter', script)
            default: return libraryVariable(script, name)
        }
    }

    /** The global variable that is called by this name, or null if the name is a step. */
    static Object callable(PipelineScript script, String name) {
        name == 'pipeline' || Engine.run.code.isVariable(name) ? get(script, name) : null
    }

    private static Object cps(String type, PipelineScript script) {
        Map created = Engine.run.program.libraryVariables
        if (created[type] == null) { created[type] = Engine.run.loader.loadClass(type).newInstance(script) }
        created[type]
    }

    /** A library variable; each script that uses it has an instance in its binding, so scripts share no fields. */
    private static Object libraryVariable(PipelineScript script, String name) {
        Map variables = script.binding.variables
        if (variables[name] == null) {
            Throwable error = Engine.run.code.unusable[name]
            if (error instanceof UnsupportedError) { Engine.run.unsupported << [what: error.message, error: error] }
            variables[name] = InvokerHelper.createScript(Engine.run.loader.loadClass(name), new Binding())
        }
        variables[name]
    }
}

/** `env`; assigned values are converted to text. */
class EnvironmentVariables implements Serializable {
    Object getProperty(String name) { Engine.run.variables(Engine.thread.context)[name] }

    void setProperty(String name, Object value) { Engine.run.assign(name, value) }

    /** Variables of the whole build, without those of the node and of enclosing blocks. */
    Map<String, String> getEnvironment() {
        EnvVars all = new EnvVars(Engine.run.buildVariables())
        all.putAll(Engine.run.assigned)
        all
    }

    Object invokeMethod(String name, Object args) {
        Object[] list = InvokerHelper.asArray(args)
        switch (name) {
            case 'getProperty': return getProperty(list[0] as String)
            case 'setProperty': setProperty(list[0] as String, list[1]); return null
            case 'getEnvironment': return getEnvironment()
            case 'getAt': return getProperty(list[0] as String)
            case 'toString': return toString()
            case 'getClass': return EnvironmentVariables
            default: throw new MissingMethodException(name, EnvironmentVariables, list)
        }
    }

    @Override
    String toString() { 'org.jenkinsci.plugins.workflow.cps.EnvActionImpl' }
}

/** `scm`: defined only if the script comes from version control. */
class Scm implements Serializable {
    String branch
    String url

    static Scm of(Run run) {
        if (!run.hasScm) {
            throw new AbortException('‘checkout scm’ is only available when using “Multibranch Pipeline” or “Pipeline script from SCM”')
        }
        new Scm(branch: run.scenario.branch ?: 'main', url: run.scenario.scmUrl)
    }

    List getBranches() { [[name: branch]] }

    List getUserRemoteConfigs() { [[url: url]] }

    List getExtensions() { [] }

    List getSubmoduleCfg() { [] }

    boolean isDoGenerateSubmoduleConfigurations() { false }
}
