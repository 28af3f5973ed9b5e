// The implementation that all stage steps share; not meant to be called from a Jenkinsfile.

Map call(String step, Map given) {
    Map plan = mlLibrary.checked(step, given)
    Map arguments = plan.arguments
    String stage = plan.spec.stage
    if (plan.spec.home && mlLibrary.dry(arguments)) {
        Map left = mlRun.note(stage, arguments.environment, 'dry run: nothing outside the build was changed')
        echo "${step}: ${left.summary}"
        return left
    }
    Map values = flags(arguments, plan.spec.keys)
    if (stage == 'promote') {
        values.expect_version = mlRun.result('approve')?.version
    }
    Map result = run(stage, arguments, values)
    echo line(step, result)
    if (result.verdict == 'error') {
        mlLibrary.fail("${step}: ${result.summary}")
    }
    if (stage == 'gate') {
        return decided(result, arguments.whenKept ?: 'success')
    }
    if (!result.passed) {
        mlLibrary.fail("${step}: ${result.summary}")
    }
    if (stage in ['evaluate', 'promote']) {
        currentBuild.description = result.summary
    }
    return result
}

/** Runs a stage where ml-pipeline is: here, inside mlAgent, or in a place that mlAgent makes. */
Map run(String stage, Map arguments, Map values) {
    Map result = null
    Map given = [stage: stage, arguments: values]
    for (key in ['environment', 'project', 'policy', 'set', 'credentials']) {
        given[key] = arguments[key]
    }
    if (env.ML_AGENT) {
        return mlRun(given)
    }
    mlAgent(arguments.agent ?: [:]) {
        result = mlRun(given)
    }
    return result
}

/** A stage's one line in the log. */
String line(String step, Map result) {
    String where = env.BUILD_URL ? " (${env.BUILD_URL}artifact/${result.report})" : ''
    return "${step}: ${result.verdict}: ${result.summary}${where}".toString()
}

/** What the gate's answer means for the build: if it says no, the champion stays. */
private Map decided(Map result, String whenKept) {
    if (result.passed) {
        currentBuild.description = result.nothing ? result.summary : "version ${result.version}: ${result.summary}".toString()
        return result
    }
    String why = "champion kept: ${result.summary}".toString()
    currentBuild.description = why
    for (int i = 0; i < result.open.size(); i++) {
        echo "  ${result.open[i]}"
    }
    if (whenKept == 'failure') {
        error(why)
    } else if (whenKept == 'unstable') {
        unstable(why)
    } else {
        echo why
    }
    return result
}

@NonCPS
private Map flags(Map arguments, Map keys) {
    Map values = [:]
    for (Map.Entry entry in keys.entrySet()) {
        if (arguments[entry.key] != null) {
            values[entry.value] = arguments[entry.key]
        }
    }
    return values
}
