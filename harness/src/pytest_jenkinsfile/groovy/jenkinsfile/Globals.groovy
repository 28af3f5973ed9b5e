package jenkinsfile

import hudson.AbortException
import org.codehaus.groovy.runtime.InvokerHelper
import org.jenkinsci.plugins.workflow.support.steps.build.RunWrapper

/** The global variables of a pipeline: `env`, `params`, `currentBuild`, `scm`, `docker`, `steps`, and a library's. */
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

    /** What answers to a call by this name, or null when it is a step. */
    static Object callable(PipelineScript script, String name) {
        name == 'pipeline' || Engine.run.code.isVariable(name) ? get(script, name) : null
    }

    private static Object cps(String type, PipelineScript script) {
        Map kept = Engine.run.program.libraryVariables
        if (kept[type] == null) { kept[type] = Engine.run.loader.loadClass(type).newInstance(script) }
        kept[type]
    }

    /** One for each script that uses it, kept in that script's binding: two that use it share no fields. */
    private static Object libraryVariable(PipelineScript script, String name) {
        Map kept = script.binding.variables
        if (kept[name] == null) {
            Throwable why = Engine.run.code.unusable[name]
            if (why instanceof NotInHarness) { Engine.run.gaps << [what: why.message, error: why] }
            kept[name] = InvokerHelper.createScript(Engine.run.loader.loadClass(name), new Binding())
        }
        kept[name]
    }
}

/** `env`. What is assigned becomes text. */
class EnvironmentVariables implements Serializable {
    Object getProperty(String name) { Engine.run.variables(Engine.thread.context)[name] }

    void setProperty(String name, Object value) { Engine.run.assign(name, value) }

    /** What holds everywhere in the build: neither the node's nor those of the blocks around. */
    Map<String, String> getEnvironment() {
        EnvVars all = new EnvVars(Engine.run.own())
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

/** `scm`: only where the script itself came out of version control. */
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
