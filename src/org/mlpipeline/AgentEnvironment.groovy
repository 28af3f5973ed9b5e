package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS

/** Sets up the variables and the command ml-pipeline on the present agent, then runs a block. */
class AgentEnvironment implements Serializable {
    private final Object steps

    AgentEnvironment(Object steps) {
        this.steps = steps
    }

    Object run(Map place, Map settings, Closure body) {
        ConfiguredVariables configured = new ConfiguredVariables(steps)
        String problem = configured.problem() // again: variables of the node are seen on the node only
        if (problem) {
            steps.error("mlAgent: ${problem}")
        }
        boolean container = place.kind != 'node'
        String temporary = steps.env.WORKSPACE_TMP ?: "${steps.env.WORKSPACE}@tmp"
        boolean trusted = new DeliveryBranches(steps).isTrusted()
        List variables = settingVariables(settings) + configured.overrides() + (settings.home && trusted ? ["ML_HOME=${settings.home}"] : [])
        variables += "PYTHONPYCACHEPREFIX=${temporary}/pycache" // byte code beside verified sources is not read
        if (container) {
            variables += ["HOME=${temporary}/home", 'USER=ml', 'LOGNAME=ml']
        }
        List inputs = scriptVariables(place, settings, caches(settings, container, trusted, temporary), container)
        return steps.withEnv(variables) {
            String folder = install(inputs)
            // A PATH+X of the administrators goes before PATH+ML, and in a container PATH+ML changes nothing.
            List command = ["ML_PIPELINE_BIN=${folder ?: '-'}"] + (folder && !container ? ["PATH+ML=${folder}"] : [])
            steps.withEnv(command + ["ML_AGENT=${place.name}"]) { body() }
        }
    }

    /** Runs agent.sh and returns the folder of the command, '' if it is on PATH. */
    private String install(List inputs) {
        Map output = [:]
        steps.withEnv(inputs) {
            String script = steps.libraryResource('ml-pipeline/agent.sh')
            output = parsed(steps.sh(returnStdout: true, label: 'ml-pipeline: environment', script: script))
        }
        if (output.error || output.bin == null) {
            steps.error("mlAgent: ${output.error ?: 'the environment could not be created, see the lines above'}")
        }
        return output.bin
    }

    /** Folders of environments. A build that does not deliver has its own, and only reads that of builds that deliver. */
    private Map caches(Map settings, boolean container, boolean trusted, String temporary) {
        if (container && !settings.cache) {
            return [own: "${temporary}/cache"] // of this job's workspace alone
        }
        String cache = settings.cache ?: "${steps.env.HOME ?: temporary}/.cache/ml-pipeline"
        return trusted ? [own: cache] : [own: "${cache}/checks", shared: cache]
    }

    /** Each value starts with '-': Jenkins removes a variable that is empty, and a container then shows its own. */
    private List scriptVariables(Map place, Map settings, Map cache, boolean container) {
        return ["ML_PACKAGE=-${settings.package ?: ''}", "ML_PACKAGE_DEFAULT=-${steps.env.ML_PIPELINE_PACKAGE ?: ''}",
                "ML_LOCK=-${settings.lock ?: ''}", "ML_CACHE=-${cache.own}", "ML_CACHE_SHARED=-${cache.shared ?: ''}",
                "ML_CACHE_DAYS=-${container ? '' : 30}", "ML_CONTRACT=-${place.contract}"]
    }

    @NonCPS
    private List settingVariables(Map settings) {
        List index = settings.index ? ["PIP_INDEX_URL=${settings.index}".toString()] : []
        List names = ['SSL_CERT_FILE', 'REQUESTS_CA_BUNDLE', 'PIP_CERT', 'CURL_CA_BUNDLE', 'GIT_SSL_CAINFO']
        return index + (settings.ca ? names.collect { "${it}=${settings.ca}".toString() } : [])
    }

    /** The lines NAME=VALUE that agent.sh writes. */
    @NonCPS
    private Map parsed(String text) {
        Map values = [:]
        for (String line in text.readLines()) {
            int at = line.indexOf('=')
            if (at > 0) {
                values[line.substring(0, at)] = line.substring(at + 1)
            }
        }
        return values
    }
}
