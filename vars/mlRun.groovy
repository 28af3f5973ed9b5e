import groovy.json.JsonOutput
import groovy.json.JsonSlurperClassic
import java.util.zip.GZIPInputStream
import java.util.zip.GZIPOutputStream

/** Runs one stage here and returns what its report says; see mlRun.txt. */
Map call(Map given) {
    Map checked = mlLibrary.checked('mlRun', given)
    Map arguments = checked.arguments
    Map expected = checked.spec
    String name = arguments.environment ? "${expected.stage}-${arguments.environment}" : expected.stage
    expected << [name: name, environment: arguments.environment, project: arguments.project ?: env.ML_PROJECT, runId: mlLibrary.runId()]
    String lacking = mlBuild.repeated() == 'restarted at a stage' ? missing(expected.needs, state().results) : null
    if (lacking) {
        mlLibrary.fail("${name}: this build was restarted at a stage, and ${lacking} has not run in it; " +
            "restart at the stage that runs ${lacking}, or start a new build of ${mlBuild.job()}")
    }
    List bindings = mlLibrary.bindings(expected.bind)
    Map result = null
    String here = null
    dir(expected.project ?: '.') {
        here = arrive(expected)
        if (expected.home && !env.ML_HOME) {
            echo "${name}: ML_HOME is not set; registry and keys lie in this workspace and are lost with it"
        }
        writeFile(file: "build/ml/args/${expected.stage}.json", encoding: 'UTF-8', text: flags(arguments, expected))
        String page = null
        try {
            result = attempts(expected, bindings)
        } finally {
            page = publish(name)
        }
        result.page = page
        stash(name: "ml-${name}", includes: parts(expected), allowEmpty: true)
    }
    Map state = state()
    state.results[name] = kept(result)
    state.places[name] = [here]
    remember(state)
    return result
}

/** What a stage of this build said, in short, or null: verdict, version, and where its report is. */
Map result(String name) {
    return state().results[name]
}

/** Notes what a stage said that was not run. */
Map note(String stage, String environment, String summary) {
    Map result = [stage: stage, environment: environment, verdict: 'skipped', passed: true, skipped: true, waits: false, summary: summary]
    Map state = state()
    state.results[environment ? "${stage}-${environment}" : stage] = kept(result)
    remember(state)
    return result
}

/**
 * What this build knows: results by report name, and the places where the files of each stage lie.
 * In `env`, which outlives a restart of the controller; of a var each script has its own. A build that is
 * restarted at a stage starts with a copy of the older build's `env`: what is not of this build is not read.
 */
private Map state() {
    Map known = opened(env.ML_STATE)
    return known.build == mlBuild.id() ? known : [build: mlBuild.id(), results: [:], places: [:], made: 0]
}

private void remember(Map state) {
    String text = closed(state)
    if (text.length() > 65536) { // every `sh` gets it; from 128 KiB on none starts
        mlLibrary.fail("this build has the results of ${state.results.size()} stages, more than it can keep; split it into several builds")
    }
    env.ML_STATE = text
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
        String why = result?.summary ?: word(expected) ?: 'see above'
        echo "${expected.name}: the environment failed, ${why}; trying again in ${pauses[attempt]} s (${attempt + 1} of ${pauses.size()})"
        sleep(time: pauses[attempt], unit: 'SECONDS')
        attempt++
    }
}

/** The one command line. Its only variable part is the name of a stage, from the table. */
private int execute(String stage) {
    boolean found = env.ML_PIPELINE_BIN && env.ML_PIPELINE_BIN != '-' // '-': the command is on PATH
    String command = found ? 'PATH="$ML_PIPELINE_BIN:$PATH" ml-pipeline' : 'ml-pipeline'
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
        case 2: mlLibrary.fail("${name}: usage or configuration: ${told ?: 'the lines above name the key'}${expected.project ? " (project ${expected.project})" : ''}"); break
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

/** Makes build/ml this build's own, and fetches the small files of stages that ran elsewhere; returns the place. */
private String arrive(Map expected) {
    String marker = 'build/ml/.place'
    String here = fileExists(marker) ? readFile(file: marker, encoding: 'UTF-8') : ''
    if (!here.startsWith("${expected.runId} ")) {
        dir('build/ml') { deleteDir() }
        Map state = state()
        state.made = state.made + 1
        remember(state)
        here = state.made.toString()
        writeFile(file: marker, text: "${expected.runId} ${here}", encoding: 'UTF-8')
    } else {
        here = here.tokenize().last()
    }
    List others = elsewhere(state().places, expected, here)
    for (int i = 0; i < others.size(); i++) {
        unstash("ml-${others[i]}")
        Map state = state()
        state.places[others[i]] = (state.places[others[i]] + here).takeRight(20) // one that is forgotten is fetched again
        remember(state)
    }
    return here
}

/** Publishes what the stage wrote, and returns its page if it made one. */
private String publish(String name) {
    junit(testResults: "build/ml/junit/${name}.xml", allowEmptyResults: true, skipMarkingBuildUnstable: true)
    archiveArtifacts(artifacts: "build/ml/reports/${name}.json,build/ml/pages/**", allowEmptyArchive: true)
    String page = "build/ml/pages/${name}.html"
    if (!fileExists(page)) {
        return null
    }
    mlLibrary.optional('htmlpublisher') {
        publishHTML(target: [reportName: "ml-pipeline ${name}".toString(), reportDir: 'build/ml/pages', reportFiles: "${name}.html".toString(),
                             keepAll: true, alwaysLinkToLastBuild: false, allowMissing: false])
    }
    return page
}

// --- plain functions -------------------------------------------------------------------------------

@NonCPS
private Map opened(String text) {
    if (!text) {
        return [:]
    }
    return new JsonSlurperClassic().parseText(new GZIPInputStream(new ByteArrayInputStream(text.decodeBase64())).getText('UTF-8')) as Map
}

@NonCPS
private String closed(Map state) {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream()
    new GZIPOutputStream(bytes).withCloseable { it.write(JsonOutput.toJson(state).getBytes('UTF-8')) }
    return bytes.toByteArray().encodeBase64().toString()
}

/** What later stages ask of a result. Its checks stay in the report, and only the gate's summary is shown again. */
@NonCPS
private Map kept(Map result) {
    Map kept = result.subMap(['stage', 'environment', 'verdict', 'passed', 'waits', 'skipped', 'nothing', 'version', 'against', 'report', 'page'])
    kept.model = result.model?.take(100)
    kept.open = result.open ? result.open.size() : 0
    if (result.stage == 'gate') {
        kept.summary = result.summary?.take(400)
    }
    return kept
}

@NonCPS
private String missing(List needs, Map results) {
    return needs.find { !results.containsKey(it) }
}

@NonCPS
private List elsewhere(Map places, Map expected, String here) {
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
        against: report.metrics?.champion_version, url: report.metrics?.url, left: report.metrics?.seconds_left,
        open: open.take(20).collect { "${it.verdict}  ${it.name}${it.required ? '' : ' (advisory)'}${it.why ? ': ' + it.why : ''}".take(300) },
    ]
}
