// What this build is, read from where no parameter reaches; not meant to be called from a Jenkinsfile.
import groovy.transform.Field

/** Variables of Jenkins' own configuration that a Jenkinsfile may repeat and not replace. */
@Field static final List HELD = ['ML_POLICY', 'ML_HOME']

/** The job's full name, such as `nepse/main`. */
String job() {
    return currentBuild.fullProjectName
}

int number() {
    return currentBuild.number
}

/** This build's address, ending in /; '' where Jenkins has none. */
String address() {
    try {
        return currentBuild.absoluteUrl ?: ''
    } catch (IllegalStateException noRootUrl) {
        return ''
    }
}

/** One build of one job: what binds the state of a build to it. */
String id() {
    return "${job()}#${number()}".toString()
}

/** The branch, tag and pull request that the job was made for: branch, tag, change. Null where it has none. */
@NonCPS
Map revision() {
    Map variables = currentBuild.rawBuild.parent.getEnvironment(null, hudson.model.TaskListener.NULL)
    return [branch: variables.BRANCH_NAME ?: null, tag: variables.TAG_NAME ?: null, change: variables.CHANGE_ID ?: null]
}

/** How this build came to be, if it is one that never promotes: 'replayed', 'restarted at a stage'; else null. */
String repeated() {
    return repetition(currentBuild.getBuildCauses())
}

/** Says in log and description what a replayed or restarted build leaves out. Returns whether it is one. */
boolean leavesOut(String step, Map arguments = [:]) {
    String repeated = repeated()
    if (repeated) {
        String why = "not promoted: this build was ${repeated}; start a new build of ${job()}"
        if (mlRun.once("${mlLibrary.project(arguments)} ${why}")) {
            echo "${step}: ${why}"
            mlOutcome.describe(arguments, 'left', why)
        }
    }
    return repeated != null
}

/** What is wrong with the parameters of this build, or null. */
String clash() {
    String name = reserved(params.keySet())
    if (name == null) {
        return null
    }
    String then = name.equalsIgnoreCase('PATH') ? 'then no command is found' : 'the library or its tools read it'
    return "the parameter '${name}' would replace the environment variable ${name.toUpperCase()} (names are compared without case), and ${then}; rename the parameter"
}

/** What Jenkins' own configuration (global, of the folder, of the job) says of ML_POLICY and ML_HOME; null where nothing. */
@NonCPS
Map configured() {
    Map variables = currentBuild.rawBuild.getEnvironment(hudson.model.TaskListener.NULL)
    return HELD.collectEntries { [(it): variables[it] ?: null] }
}

/** These variables as `withEnv` takes them. '-': there is no ML_POLICY, whatever the image or the agent's service sets. */
List held() {
    Map known = configured()
    return ["ML_POLICY=${known.ML_POLICY ?: '-'}".toString()] + (known.ML_HOME ? ["ML_HOME=${known.ML_HOME}".toString()] : [])
}

/** Which of these variables is another one here than in Jenkins' configuration, in words, or null. Not its value: it may be a secret. */
String replaced() {
    Map known = configured()
    for (name in HELD) {
        if (known[name] && !known[name].startsWith('/')) {
            return "${name} of Jenkins' configuration is '${known[name]}'; expected an absolute path"
        }
        String here = env."${name}"
        if (here && here != '-' && here != known[name] && (known[name] || name != 'ML_HOME')) {
            String set = known[name] ? "has '${known[name]}'" : 'sets none'
            return "${name} is set by the Jenkinsfile, the agent or the node, and Jenkins' configuration ${set}; " +
                "remove it there, and set it in Jenkins' configuration, globally or for the folder (docs/how-to/jenkins.md)"
        }
    }
    return null
}

// --- plain functions -------------------------------------------------------------------------------

@NonCPS
private String repetition(Object causes) {
    for (Object cause in causes) {
        String kind = cause._class
        if (kind.endsWith('.ReplayCause')) {
            return 'replayed'
        }
        if (kind.contains('RestartDeclarativePipelineCause')) {
            return 'restarted at a stage'
        }
    }
    return null
}

/** The first name that decides about delivery, trust, or which program runs. A parameter replaces such a variable. */
@NonCPS
private String reserved(Collection names) {
    List patterns = [
        'BRANCH_NAME|BRANCH_IS_PRIMARY|CHANGE_.*|TAG_(NAME|TIMESTAMP|UNIXTIME|DATE)',
        'JOB_(NAME|BASE_NAME|URL)|BUILD_(NUMBER|ID|URL|TAG|DISPLAY_NAME)|(JENKINS|HUDSON)_.*|NODE_(NAME|LABELS)|EXECUTOR_NUMBER|POD_.*',
        'WORKSPACE(_TMP)?|HOME|USER|LOGNAME|LNAME|USERNAME|XDG_.*|PATH|[^+]+\\+.*|SHELL|BASH_ENV|IFS|LD_.*|DYLD_.*|GCONV_PATH',
        'ML_.*|MLFLOW_.*|PYTHON[A-Z]+|PIP_.*|UV_.*|VIRTUAL_ENV|DOCKER_.*|KUBECONFIG|KUBERNETES_.*',
        'GIT_(?!(BRANCH|COMMIT|URL|TAG|REF)$).*|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE',
    ]
    java.util.regex.Pattern all = java.util.regex.Pattern.compile("(?i)(${patterns.join('|')})")
    return names.collect { it.toString() }.sort().find { all.matcher(it).matches() }
}
