package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS
import java.util.regex.Pattern

/** Names that no parameter of a job may have: Jenkins lets a parameter replace the variable of its name. */
class ReservedParameters implements Serializable {
    private final Object steps

    ReservedParameters(Object steps) {
        this.steps = steps
    }

    /** What is wrong with the parameters of this build, or null. */
    String problem() {
        String name = firstReserved(steps.params.keySet())
        if (name == null) {
            return null
        }
        String consequence = name.equalsIgnoreCase('PATH') ? 'then no command is found' : 'the library or its tools read it'
        return "the parameter '${name}' would replace the environment variable ${name.toUpperCase()} (names are compared without case), " +
            "and ${consequence}; rename the parameter"
    }

    /** The first name that decides about delivery, trust, or which program runs. */
    @NonCPS
    private String firstReserved(Collection names) {
        List patterns = [
            'BRANCH_NAME|BRANCH_IS_PRIMARY|CHANGE_.*|TAG_(NAME|TIMESTAMP|UNIXTIME|DATE)',
            'JOB_(NAME|BASE_NAME|URL)|BUILD_(NUMBER|ID|URL|TAG|DISPLAY_NAME)|(JENKINS|HUDSON)_.*|NODE_(NAME|LABELS)|EXECUTOR_NUMBER|POD_.*',
            'WORKSPACE(_TMP)?|HOME|USER|LOGNAME|LNAME|USERNAME|XDG_.*|PATH|[^+]+\\+.*|SHELL|BASH_ENV|IFS|LD_.*|DYLD_.*|GCONV_PATH',
            'ML_.*|MLFLOW_.*|PYTHON[A-Z]+|PIP_.*|UV_.*|VIRTUAL_ENV|DOCKER_.*|KUBECONFIG|KUBERNETES_.*',
            'GIT_(?!(BRANCH|COMMIT|URL|TAG|REF)$).*|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE',
        ]
        Pattern reserved = Pattern.compile("(?i)(${patterns.join('|')})")
        return names.collect { it.toString() }.sort().find { reserved.matcher(it).matches() }
    }
}
