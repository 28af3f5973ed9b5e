import groovy.json.JsonOutput
import groovy.json.JsonSlurperClassic
import groovy.transform.Field

/** What each stage of this build said, by report name. A field of a var outlives a restart. */
@Field Map results = [:]

/** In which workspaces the files of each stage lie, and which of these this build has cleaned. */
@Field Map places = [:]
@Field List clean = []

/** Runs one stage here and returns what its report says; see mlRun.txt. */
Map call(Map given) {
    Map checked = mlLibrary.checked('mlRun', given)
    Map arguments = checked.arguments
    Map expected = checked.spec
    String name = arguments.environment ? "${expected.stage}-${arguments.environment}" : expected.stage
    expected << [name: name, environment: arguments.environment, runId: mlLibrary.runId()]
    List bindings = mlLibrary.bindings(expected.bind)
    Map result = null
    dir(arguments.project ?: env.ML_PROJECT ?: '.') {
        arrive(expected)
        if (expected.home && !env.ML_HOME) {
            echo "${name}: ML_HOME is not set; registry and keys lie in this workspace and are lost with it"
        }
        writeFile(file: "build/ml/args/${expected.stage}.json", encoding: 'UTF-8', text: flags(arguments, expected))
        try {
            result = attempts(expected, bindings)
        } finally {
            publish(name)
        }
        stash(name: "ml-${name}", includes: parts(expected), allowEmpty: true)
    }
    results[name] = result
    places[name] = [place()]
    return result
}

/** What a stage of this build said, or null. */
Map result(String name) {
    return results[name]
}

/** Notes what a stage said that was not run. */
Map note(String stage, String environment, String summary) {
    Map result = [stage: stage, environment: environment, verdict: 'skipped', passed: true, skipped: true, waits: false, summary: summary]
    results[environment ? "${stage}-${environment}" : stage] = result
    return result
}

private Map attempts(Map expected, List bindings) {
    String report = "build/ml/reports/${expected.name}.json"
    List pauses = [10, 30, 90]
    int attempt = 0
    while (true) {
        writeFile(file: report, text: '{}', encoding: 'UTF-8')
        int code = bindings ? withCredentials(bindings) { execute(expected.stage) } : execute(expected.stage)
        Map result = heard(readFile(file: report, encoding: 'UTF-8'), expected, code)
        if (code != 3 || attempt >= pauses.size()) {
            return judged(result, expected, code)
        }
        echo "${expected.name}: the environment failed, ${result?.summary ?: word(expected) ?: 'see above'}; trying again in ${pauses[attempt]} s (${attempt + 1} of ${pauses.size()})"
        sleep(time: pauses[attempt], unit: 'SECONDS')
        attempt++
    }
}

/** The one command line. Its only variable part is the name of a stage, from the table. */
private int execute(String stage) {
    String command = env.ML_PIPELINE_BIN ? 'PATH="$ML_PIPELINE_BIN:$PATH" ml-pipeline' : 'ml-pipeline'
    return sh(returnStatus: true, label: "ml-pipeline ${stage}", script: "${command} ${stage} --args build/ml/args/${stage}.json")
}

private Map judged(Map result, Map expected, int code) {
    String name = expected.name
    String told = result?.summary ?: (code in [2, 3] ? word(expected) : '')
    switch (code) {
        case [0, 1, 4]:
            if (result == null) {
                mlLibrary.fail("${name}: it ended with exit code ${code}, but without a report of this run that agrees; nothing is believed")
            }
            return result
        case 2: mlLibrary.fail("${name}: usage or configuration: ${told ?: 'the lines above name the key'}"); break
        case 3: mlLibrary.fail("${name}: the environment failed four times: ${told ?: 'see the lines above'}"); break
        case 5: mlLibrary.fail("${name}: a fault of ml-pipeline, please report it with the lines above: ${told}"); break
        case 127: mlLibrary.fail("${name}: there is no command ml-pipeline here; run the step inside mlAgent, or give it agent: […]"); break
        default: mlLibrary.fail("${name}: ended by the system with exit code ${code}${code == 137 ? ', for want of memory as a rule' : ''}")
    }
}

/** The line that the command left where it could not write a report. */
private String word(Map expected) {
    String file = "build/ml/args/${expected.stage}.error"
    return fileExists(file) ? readFile(file: file, encoding: 'UTF-8').trim() : ''
}

/** Where this build is: mlAgent names the places that it makes, others are known by their folder. */
private String place() {
    return "${env.ML_PLACE ?: env.NODE_NAME} ${env.WORKSPACE}".toString()
}

/** Removes what earlier builds left, and fetches the small files of stages that ran elsewhere. */
private void arrive(Map expected) {
    String here = place()
    if (!(here in clean)) {
        dir('build/ml') { deleteDir() }
        clean << here
    }
    List others = elsewhere(expected, here)
    for (int i = 0; i < others.size(); i++) {
        unstash("ml-${others[i]}")
        places[others[i]] << here
    }
}

private void publish(String name) {
    junit(testResults: "build/ml/junit/${name}.xml", allowEmptyResults: true, skipMarkingBuildUnstable: true)
    archiveArtifacts(artifacts: "build/ml/reports/${name}.json,build/ml/pages/**", allowEmptyArchive: true)
}

// --- plain functions -------------------------------------------------------------------------------

@NonCPS
private List elsewhere(Map expected, String here) {
    return places.findAll { name, known ->
        name != expected.name && !(here in known) && (expected.reads == null || name in expected.reads)
    }.collect { name, known -> name }
}

@NonCPS
private String flags(Map arguments, Map expected) {
    Map values = [run_id: expected.runId, project: '.']
    for (String key in ['environment', 'policy', 'set']) {
        if (arguments[key] != null) {
            values[key] = arguments[key]
        }
    }
    return JsonOutput.toJson(values + (arguments.arguments ?: [:]))
}

@NonCPS
private String parts(Map expected) {
    List own = expected.parts.collect { "build/ml/${it}" }
    return (["build/ml/reports/${expected.name}.json", "build/ml/junit/${expected.name}.xml"] + own).join(',')
}

/** The report as a small map, or null unless it is of this very run and agrees with the exit code. */
@NonCPS
private Map heard(String text, Map expected, int code) {
    Map report
    try {
        report = new JsonSlurperClassic().parseText(text) as Map
    } catch (Exception unreadable) {
        return null
    }
    List agrees = [0: ['pass', 'skipped'], 1: ['fail', 'inconclusive', 'error'], 4: ['inconclusive']][code] ?: ['error']
    if (report.schema != expected.schema || report.stage != expected.stage || report.environment != expected.environment
            || report.run_id != expected.runId || !(report.verdict in agrees)) {
        return null
    }
    List open = report.checks.findAll { it.verdict != 'pass' }
    return [
        stage: expected.stage, environment: expected.environment, verdict: report.verdict, passed: code == 0,
        waits: code == 4, skipped: false, summary: report.summary, report: "build/ml/reports/${expected.name}.json".toString(),
        model: report.model?.name, version: report.model?.version, nothing: report.metrics?.nothing_to_promote == true,
        against: report.metrics?.champion_version, served: report.metrics?.url,
        open: open.collect { "${it.verdict}  ${it.name}${it.required ? '' : ' (advisory)'}${it.why ? ': ' + it.why : ''}".toString() }
    ]
}
