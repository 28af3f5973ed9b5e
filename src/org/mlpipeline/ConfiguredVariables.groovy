package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS
import hudson.model.TaskListener

/** ML_POLICY and ML_HOME: the values of Jenkins' configuration, which a Jenkinsfile may repeat but not replace. */
class ConfiguredVariables implements Serializable {
    private final List<String> names = ['ML_POLICY', 'ML_HOME']
    private final Object steps

    ConfiguredVariables(Object steps) {
        this.steps = steps
    }

    /** What Jenkins' configuration (global, of the folder, of the job) sets; null where it sets nothing. */
    @NonCPS
    Map values() {
        Map variables = steps.currentBuild.rawBuild.getEnvironment(TaskListener.NULL)
        return names.collectEntries { [(it): variables[it] ?: null] }
    }

    /** These variables for `withEnv`. '-': there is no ML_POLICY, whatever the image or the agent's service sets. */
    List overrides() {
        Map configured = values()
        return ["ML_POLICY=${configured.ML_POLICY ?: '-'}".toString()] + (configured.ML_HOME ? ["ML_HOME=${configured.ML_HOME}".toString()] : [])
    }

    /** Which of these variables differs here from Jenkins' configuration, or null. Its value is not shown: it may be a secret. */
    String problem() {
        Map configured = values()
        Map current = [ML_POLICY: steps.env.ML_POLICY, ML_HOME: steps.env.ML_HOME]
        for (name in names) {
            if (configured[name] && !configured[name].startsWith('/')) {
                return "${name} of Jenkins' configuration is '${configured[name]}'; expected an absolute path"
            }
            String value = current[name]
            if (value && value != '-' && value != configured[name] && (configured[name] || name != 'ML_HOME')) {
                String configuration = configured[name] ? "has '${configured[name]}'" : 'sets none'
                return "${name} is set by the Jenkinsfile, the agent or the node, and Jenkins' configuration ${configuration}; " +
                    "remove it there, and set it in Jenkins' configuration, globally or for the folder (docs/how-to/jenkins.md)"
            }
        }
        return null
    }
}
