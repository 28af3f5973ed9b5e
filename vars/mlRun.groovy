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
    String project = mlLibrary.project(arguments)
    expected << [name: name, environment: arguments.environment, project: project, runId: mlLibrary.runId(),
                 at: project == '.' ? '' : "${project}/", stash: "ml-${project == '.' ? '' : mlLibrary.digest(project).take(8) + '-'}"]
    String lacking = mlBuild.repeated() == 'restarted at a stage' ? missing(expected.needs, known(state(), project).results) : null
    if (lacking) {
        fail(expected, "this build was restarted at a stage, and ${lacking} has not run in it; " +
            "restart at the stage that runs ${lacking}, or start a new build of ${mlBuild.job()}")
    }
    List bindings = mlLibrary.bindings(expected.bind)
    Map result = null
    String here = null
    String page = null
    try {
        dir(project) {
            here = arrive(expected)
            if (expected.home && !env.ML_HOME) {
                echo "${name}: ML_HOME is not set; registry and keys lie in this workspace and are lost with it"
            }
            writeFile(file: "build/ml/args/${expected.stage}.json", encoding: 'UTF-8', text: flags(arguments, expected))
            result = attempts(expected, bindings)
            stash(name: expected.stash + name, includes: parts(expected), allowEmpty: true)
        }
    } finally {
        page = publish(expected)
    }
    result.page = page
    Map state = state()
    Map known = known(state, project)
    known.results[name] = kept(result)
    known.places[name] = [here]
    if (result.passed && known.lines.failed == name) {
        known.lines.remove('failure')
        known.lines.remove('failed')
    }
    remember(state)
    return result
}

/** What a stage of this build said about a project, or null. */
Map result(String name, Map arguments = [:]) {
    Map state = state()
    return known(state, meant(state, mlLibrary.project(arguments))).results[name]
}

/**
 * Begins the delivery of a project in this build and returns which one it is: 0 for the first.
 * What stages said in an earlier one is gone; two of one project cannot run beside each other.
 */
int begin(String project) {
    Map state = state()
    if (project in state.running) {
        mlOutcome.fail([:], "mlPipeline: this build delivers the project '${project}' at this moment; give each model a project: of its own, or call one after the other")
    }
    state.projects[project] = [results: [:], places: [:], lines: known(state, project).lines]
    state.running << project
    state.begun++
    remember(state)
    return state.begun - 1
}

void end(String project) {
    Map state = state()
    state.running -= project
    remember(state)
}

/** Whether this build knows of more than one project. */
boolean several() {
    return state().projects.size() > 1
}

/** Notes that something was done in this build; whether it was not before. */
boolean once(String what) {
    Map state = state()
    if (what in state.done) {
        return false
    }
    state.done << what
    remember(state)
    return true
}

boolean done(String what) {
    return what in state().done
}

/** See mlOutcome.describe. */
void describe(String project, String kind, String text, String stage) {
    Map state = state()
    fold(known(state, meant(state, project)).lines, kind, text.take(500), stage?.replace(' ', '-'))
    remember(state)
    currentBuild.description = mlOutcome.description(state.projects)
}

/** Notes what a stage said that was not run. */
Map note(String stage, Map arguments, String summary) {
    String environment = arguments.environment
    Map result = [stage: stage, environment: environment, verdict: 'skipped', passed: true, skipped: true, waits: false, summary: summary]
    Map state = state()
    known(state, mlLibrary.project(arguments)).results[environment ? "${stage}-${environment}" : stage] = kept(result)
    remember(state)
    return result
}

/**
 * What this build knows of each project: results by report name, the places where the files of each stage lie, and what
 * the description says. In `env`, which outlives a restart of the controller; of a var each script has its own. A build that
 * is restarted at a stage starts with a copy of the older build's `env`: what is not of this build is not read.
 */
private Map state() {
    Map known = opened(env.ML_STATE)
    return known.build == mlBuild.id() ? known : [build: mlBuild.id(), projects: [:], running: [], done: [], begun: 0, made: 0]
}

private void remember(Map state) {
    String text = closed(state)
    if (text.length() > 65536) { // every `sh` gets it; from 128 KiB on none starts
        int stages = state.projects.values().sum { it.results.size() }
        currentBuild.description = "this build has the results of ${stages} stages, more than it can keep; split it into several builds"
        error(currentBuild.description)
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
    return withEnv(mlBuild.held()) {
        sh(returnStatus: true, label: "ml-pipeline ${stage}", script: "${command} ${stage} --args build/ml/args/${stage}.json")
    }
}

private Map judged(Map result, Map expected, int code) {
    String told = result?.summary ?: (code in [2, 3] ? word(expected) : '')
    String project = expected.project == '.' ? '' : " (project ${expected.project})"
    switch (code) {
        case [0, 1, 4]:
            if (result == null) {
                fail(expected, "it ended with exit code ${code}, but without a report of this run that agrees; nothing is believed")
            }
            return result
        case 2: fail(expected, "usage or configuration: ${told ?: 'the lines above name the key'}${project}"); break
        case 3: fail(expected, "the environment failed four times: ${told ?: 'see the lines above'}"); break
        case 5: fail(expected, "a fault of ml-pipeline, please report it with the lines above: ${told}"); break
        case 127: fail(expected, 'there is no command ml-pipeline here; run the step inside mlAgent, or give it agent: […]'); break
        default: fail(expected, "ended by the system with exit code ${code}${code == 137 ? ', usually out of memory' : ''}")
    }
}

private void fail(Map expected, String message) {
    mlOutcome.fail(expected, "${expected.name}: ${message}", expected.name)
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
    List others = elsewhere(known(state(), expected.project).places, expected, here)
    for (int i = 0; i < others.size(); i++) {
        unstash(expected.stash + others[i])
        Map state = state()
        Map places = known(state, expected.project).places
        places[others[i]] = (places[others[i]] + here).takeRight(20) // one that is forgotten is fetched again
        remember(state)
    }
    return here
}

/** Publishes what the stage wrote, and returns its page if it made one. */
private String publish(Map expected) {
    String pages = "${expected.at}build/ml/pages"
    String page = "${pages}/${expected.name}.html"
    mlOutcome.telling('publishing the test results') {
        junit(testResults: "${expected.at}build/ml/junit/${expected.name}.xml", allowEmptyResults: true, skipMarkingBuildUnstable: true)
    }
    mlOutcome.telling('archiving the report') {
        archiveArtifacts(artifacts: "${expected.at}build/ml/reports/${expected.name}.json,${pages}/**", allowEmptyArchive: true)
    }
    if (!fileExists(page)) {
        return null
    }
    String title = "ml-pipeline ${expected.project == '.' ? '' : expected.project + ' '}${expected.name}"
    mlLibrary.optional('htmlpublisher') {
        // Without allowMissing a folder that is not there makes the build a failure.
        publishHTML(target: [reportName: title, reportDir: pages, reportFiles: "${expected.name}.html".toString(),
                             keepAll: true, alwaysLinkToLastBuild: false, allowMissing: true])
    }
    return page
}

// --- plain functions -------------------------------------------------------------------------------

@NonCPS
private Map opened(String text) {
    try {
        return text ? new JsonSlurperClassic().parseText(new GZIPInputStream(new ByteArrayInputStream(text.decodeBase64())).getText('UTF-8')) as Map : [:]
    } catch (IOException | RuntimeException notOurs) { // a parameter of this name, which is refused: nothing is known
        return [:]
    }
}

/** Adds to what the description says of a project: see mlOutcome.describe. */
@NonCPS
private void fold(Map lines, String kind, String text, String stage) {
    boolean again = stage != null && stage == lines.failed
    boolean first = !lines.failure || (kind == 'failure' && again)
    if (kind != 'failure' && kind != 'end') {
        lines[kind] = text
    } else if (first) {
        lines.remove('production')
        lines.failure = text
        lines.failed = stage
    } else if (kind == 'failure' && lines.production) {
        lines.production = text
    }
}

/** The project that a call is about which names none: the only one there is. */
@NonCPS
private String meant(Map state, String project) {
    return project == '.' && !state.projects['.'] && state.projects.size() == 1 ? state.projects.keySet().first() : project
}

/** What a build knows of a project; made where it is new. */
@NonCPS
private Map known(Map state, String project) {
    if (!state.projects.containsKey(project)) {
        state.projects[project] = [results: [:], places: [:], lines: [:]]
    }
    return state.projects[project]
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
    if (result.stage in ['gate', 'evaluate']) {
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
        waits: code == 4, skipped: false, summary: report.summary, report: "${expected.at}build/ml/reports/${expected.name}.json".toString(),
        counted: report.metrics?.counted, model: report.model?.name, version: report.model?.version, nothing: report.metrics?.nothing_to_promote == true,
        against: report.metrics?.champion_version, url: report.metrics?.url, left: report.metrics?.seconds_left,
        open: open.take(20).collect { "${it.verdict}  ${it.name}${it.required ? '' : ' (advisory)'}${it.why ? ': ' + it.why : ''}".take(300) },
    ]
}
