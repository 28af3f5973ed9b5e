// The implementation that all stage steps share; not meant to be called from a Jenkinsfile.

Map call(String step, Map given) {
    Map plan = mlLibrary.checked(step, given)
    String title = "${plan.spec.stage} ${plan.arguments.environment ?: ''}".trim()
    return mlOutcome.named(title, plan.arguments) { staged(step, title, plan) }
}

private Map staged(String step, String title, Map plan) {
    Map arguments = plan.arguments
    String stage = plan.spec.stage
    boolean dry = mlLibrary.dry(arguments)
    if (plan.spec.home && dry) {
        Map left = mlRun.note(stage, arguments, 'dry run: nothing outside the build was changed')
        echo "${step}: ${left.summary}"
        Map evaluated = mlRun.result('evaluate', arguments)
        mlOutcome.describe(arguments, 'model', evaluated ? "${left.summary}; ${evaluated.summary}" : left.summary)
        return left
    }
    Map values = flags(arguments, plan.spec.keys) + (stage == 'watch' ? [judge: true] : [:])
    Integer shown = stage == 'promote' ? mlRun.result('approve', arguments)?.version : null
    if (shown) {
        values.expect_version = shown
    }
    Map result = run(stage, arguments, values, plan.spec.engine)
    report(step, result)
    if (stage in ['evaluate', 'gate'] && !dry) {
        check(result, mlLibrary.project(arguments))
    }
    if (result.verdict == 'error') {
        mlOutcome.fail(arguments, "${title}: ${result.summary}", title)
    }
    if (stage == 'gate') {
        return decided(result, arguments)
    }
    if (!result.passed && !result.waits) {
        mlOutcome.fail(arguments, "${title}: ${result.summary}", title)
    }
    if (!result.waits) {
        String kind = [evaluate: 'model', promote: 'production', rollback: 'production', reconcile: 'production'][stage] ?: 'other'
        mlOutcome.describe(arguments, kind, (dry ? 'dry run: ' : '') + result.summary)
    }
    return result
}

/** Runs a stage where ml-pipeline is: here, inside mlAgent, or in a place that mlAgent makes. */
Map run(String stage, Map arguments, Map values, boolean engine = false) {
    Map result = null
    Map given = arguments.subMap(['environment', 'project', 'policy', 'set', 'credentials']) + [stage: stage, arguments: values]
    if (env.ML_AGENT) {
        return mlRun(given)
    }
    mlAgent.within(arguments, (arguments.agent ?: [:]) + [engine: engine]) {
        result = mlRun(given)
    }
    return result
}

/** A stage's one line in the log. Its summary is there already, where the command printed it. */
void report(String step, Map result) {
    String where = mlLibrary.link(result)
    if (!result.passed) {
        String told = result.summary?.startsWith("${result.verdict}: ") ? '' : "${result.verdict}: "
        echo "${step}: ${told}${result.summary}${where ? ' ' + where : ''}"
    } else if (where) {
        echo "${step}: report ${where}"
    }
}

/** Shows the verdict beside the commit, where the Checks plugin is. What is not known is no success there either. */
private void check(Map result, String project) {
    mlLibrary.optional('checks-api') {
        publishChecks(name: "ml-pipeline / ${project == '.' ? '' : project + ' / '}${result.stage}", title: result.summary, detailsURL: mlLibrary.link(result),
                      conclusion: [pass: 'SUCCESS', skipped: 'SKIPPED'][result.verdict] ?: 'FAILURE',
                      summary: result.open ? result.open.join('\n') : 'All checks are passed.')
    }
}

/** What the gate's answer means for the build: if it says no, the champion stays. */
private Map decided(Map result, Map arguments) {
    result.open.each { echo "  ${it}" }
    if (result.passed) {
        mlOutcome.describe(arguments, 'model', result.nothing ? result.summary : "version ${result.version}: ${result.summary}".toString())
        return result
    }
    String why = "champion kept: ${result.summary}"
    if (arguments.whenKept == 'failure') {
        mlOutcome.fail(arguments, why, 'gate')
    }
    mlOutcome.describe(arguments, 'model', why)
    if (arguments.whenKept == 'unstable') {
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
