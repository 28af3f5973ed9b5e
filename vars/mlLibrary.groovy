// What the steps share; not meant to be called from a Jenkinsfile.
import groovy.json.JsonSlurperClassic
import java.security.MessageDigest

/**
 * Checks the named arguments of a step against resources/steps.json before anything runs.
 * Returns a map: arguments (texts made plain, lists of texts made lists), spec (stage, keys, …).
 */
Map checked(String step, Map given) {
    String clash = mlBuild.clash() ?: mlBuild.replaced()
    if (clash) {
        mlOutcome.fail(given ?: [:], "${step}: ${clash}")
    }
    Map found = examine(libraryResource('steps.json'), step, given ?: [:])
    if (found.problem) {
        mlOutcome.fail(given ?: [:], found.problem)
    }
    return found
}

/** The folder of ml.yaml that a step is about, '.' for the workspace: one model each. */
String project(Map arguments) {
    String given = arguments.project instanceof CharSequence ? arguments.project : null
    return plain(given ?: env.ML_PROJECT ?: '.')
}

/** The stages of the runs ci and cd, in their order. */
Map runs() {
    return section(libraryResource('steps.json'), 'runs')
}

/** The nearest of the known words, as a half sentence. */
@NonCPS
String nearest(String word, Collection<String> known) {
    String best = null
    int least = Math.max(2, word.length().intdiv(3)) + 1
    for (String one in known) {
        int steps = distance(word.toLowerCase(), one.toLowerCase())
        if (steps < least) {
            least = steps
            best = one
        }
    }
    return best == null ? "known: ${new TreeSet(known).join(', ')}".toString() : "did you mean '${best}'?".toString()
}

/** The name of this run in the reports: one per build, whatever characters the job's name has. */
String runId() {
    return "jenkins-${digest("${mlBuild.job()} ${mlBuild.address()}").take(12)}-${mlBuild.number()}".toString()
}

@NonCPS
String digest(String text) {
    return MessageDigest.getInstance('SHA-256').digest(text.getBytes('UTF-8')).encodeHex().toString()
}

/** Whether this build changes nothing outside itself. */
boolean dry(Map arguments) {
    return arguments.dryRun == null ? env.ML_DRY_RUN == 'true' : arguments.dryRun
}

/** The address of what a stage of this build said, its page if it made one; '' where Jenkins has no address. */
String link(Map result) {
    String address = env.BUILD_URL ? mlBuild.address() : ''
    return address && result.report ? "${address}artifact/${result.page ?: result.report}".toString() : ''
}

/** Runs a step of a plugin that not every Jenkins has. Without it, or where it fails, says so and goes on. */
void optional(String plugin, Closure step) {
    optionalAround(plugin, step) { }
}

/** Runs a body inside an optional plugin's block step, or as it is where that cannot be. */
void optionalAround(String plugin, Closure around, Closure body) {
    boolean entered = false
    try {
        around { entered = true; body() }
    } catch (Throwable fault) {
        if (entered || mlOutcome.isInterrupted(fault)) {
            throw fault
        }
        leftOut(plugin, fault)
        body()
    }
}

private void leftOut(String plugin, Throwable fault) {
    if (!(fault instanceof NoSuchMethodError)) {
        echo "left out, the plugin ${plugin} failed: ${mlOutcome.reason(fault)}; the result of the build stays as it is"
        return
    }
    List known = env.ML_LEFT_OUT ? env.ML_LEFT_OUT.tokenize() : []
    if (!(plugin in known)) {
        env.ML_LEFT_OUT = (known + plugin).join(' ')
        echo "left out, the plugin ${plugin} is not installed"
    }
}

/** What withCredentials takes, of the credentials that `examine` found to be needed. */
List bindings(List needed) {
    return needed.collect { Map one ->
        if (one.binding == 'usernamePassword') {
            return usernamePassword(credentialsId: one.id, usernameVariable: one.variables[0], passwordVariable: one.variables[1])
        }
        Map given = [credentialsId: one.id, variable: one.variables[0]]
        return one.binding == 'file' ? file(given) : string(given)
    }
}

// --- plain functions -------------------------------------------------------------------------------

@NonCPS
private String plain(String path) {
    List parts = path.tokenize('/').findAll { it != '.' }
    return parts ? parts.join('/') : '.'
}

@NonCPS
private Map section(String table, String name) {
    return new JsonSlurperClassic().parseText(table)[name]
}

@NonCPS
Map examine(String table, String step, Map given) {
    Map steps = new JsonSlurperClassic().parseText(table)
    Map spec = steps.steps[step]
    Map found = understood(step, spec, given)
    if (found.problem) {
        return found
    }
    Map arguments = found.arguments
    if (step == 'mlRun') {
        spec = steps.steps.values().find { it.stage == arguments.stage }
        if (spec == null) {
            return [problem: "mlRun: no stage '${arguments.stage}'; ${nearest(arguments.stage, steps.steps.values()*.stage.findAll())}".toString()]
        }
    }
    Map credentials = needed(steps.credentials, arguments.credentials ?: [:], spec.stage)
    if (credentials.problem) {
        return [problem: "${step}: ${credentials.problem}".toString()]
    }
    Map told = [contract: steps.contract, schema: steps.report, bind: credentials.found, engine: spec.engine || spec.engineWith.any { arguments[it] }]
    told.needs = (steps.runs.ci + steps.runs.cd).find { it.stage == spec.stage }?.needs ?: []
    for (String name in ['stage', 'home', 'keys', 'parts', 'reads']) {
        told[name] = spec[name]
    }
    return [arguments: arguments, spec: told]
}

/** The arguments as the step knows them, or the problem with one of them. */
@NonCPS
private Map understood(String step, Map spec, Map given) {
    Map arguments = [:]
    for (Map.Entry entry in given.entrySet()) {
        String name = entry.key
        Map about = spec.arguments[name]
        if (about == null) {
            return [problem: "${step}: unknown argument '${name}'; ${nearest(name, spec.arguments.keySet())} (docs/reference/steps.md)".toString()]
        }
        boolean blank = entry.value instanceof CharSequence && !entry.value.trim()
        if (entry.value == null || (blank && about.kind == 'integer')) {
            continue
        }
        Object value = accepted(about.kind, entry.value)
        if (value == null) {
            return [problem: "${step}: '${name}' is ${shown(entry.value)}; expected ${expected(about.kind)}".toString()]
        }
        if (about.choices && !(value in about.choices)) {
            return [problem: "${step}: '${name}' is ${shown(value)}; ${nearest(value, about.choices)}".toString()]
        }
        arguments[name] = value
    }
    for (Map.Entry entry in spec.arguments.entrySet()) {
        if (entry.value.required && arguments[entry.key] == null) {
            return [problem: "${step}: '${entry.key}' is missing: ${entry.value.help}".toString()]
        }
    }
    return [arguments: arguments]
}

@NonCPS
private Object accepted(String kind, Object value) {
    boolean text = value instanceof CharSequence
    switch (kind) {
        case 'text': return text ? value.toString() : null
        case 'name': return text && value ==~ '[A-Za-z0-9][A-Za-z0-9_-]{0,30}' ? value.toString() : null
        case 'path': return text && inside(value.toString()) ? value.toString() : null
        // A parameter of a job is a text.
        case 'integer': return text && value.trim() ==~ '[0-9]{1,9}' ? value.trim() as Integer : value instanceof Integer ? value : null
        case 'switch': return value instanceof Boolean ? value : null
        case 'map': return value instanceof Map ? value : null
        case 'texts':
            List all = value instanceof List ? value : [value]
            return all.every { it instanceof CharSequence } ? all.collect { it.toString() } : null
        default: return value
    }
}

@NonCPS
private boolean inside(String path) {
    return !path.startsWith('/') && !path.contains('\\') && !path.split('/').contains('..')
}

@NonCPS
private String expected(String kind) {
    return [path: 'a path inside the workspace', switch: 'true or false', integer: 'a whole number',
            texts: 'a text or a list of texts', map: 'a map', text: 'a text', name: 'letters, digits, - and _'][kind]
}

@NonCPS
private String shown(Object value) {
    String kind = value instanceof CharSequence ? 'text' : value.getClass().simpleName
    return "the ${kind} '${value.toString().take(60)}'".toString()
}

@NonCPS
private int distance(String one, String other) {
    List<Integer> row = (0..other.length()).collect { it }
    for (int i = 1; i <= one.length(); i++) {
        int diagonal = row[0]
        row[0] = i
        for (int j = 1; j <= other.length(); j++) {
            int replaced = diagonal + (one[i - 1] == other[j - 1] ? 0 : 1)
            diagonal = row[j]
            row[j] = Math.min(replaced, Math.min(row[j], row[j - 1]) + 1)
        }
    }
    return row[other.length()]
}

/** The given credentials that this stage needs, of those that steps.json knows. */
@NonCPS
private Map needed(Map known, Map credentials, String stage) {
    List found = []
    for (Map.Entry entry in credentials.entrySet()) {
        String type = entry.key
        Map about = known[type]
        if (about == null) {
            return [problem: "unknown credential '${type}'; ${nearest(type, known.keySet())}"]
        }
        Map given = entry.value instanceof Map ? entry.value : [id: entry.value]
        if (!(given.id instanceof CharSequence)) {
            return [problem: "credential '${type}' is ${shown(entry.value)}; expected an id, or [id: …, variable: …]"]
        }
        if (stage in about.stages) {
            List variables = given.variable ? [given.variable.toString()] : about.variables
            found << [binding: about.binding, id: given.id.toString(), variables: variables]
        }
    }
    return [found: found]
}
