package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS

/** The named arguments of a step, checked against the step table before anything runs. */
class StepArguments implements Serializable {
    private final Object steps

    StepArguments(Object steps) {
        this.steps = steps
    }

    /** Checks the call of a step and fails the build if it is wrong; see `check` for what is returned. */
    Map accept(String step, Map arguments, StepTable table = null) {
        requireOwnVariables(step, arguments)
        Map checked = check(table ?: new StepTable(steps.libraryResource('steps.json')), step, arguments ?: [:])
        if (checked.problem) {
            new BuildDescription(steps).fail(arguments ?: [:], checked.problem)
        }
        return checked
    }

    /** Fails the build if a parameter or a variable replaces one that decides about delivery and trust. */
    void requireOwnVariables(String step, Map arguments) {
        String problem = new ReservedParameters(steps).problem() ?: new ConfiguredVariables(steps).problem()
        if (problem) {
            new BuildDescription(steps).fail(arguments ?: [:], "${step}: ${problem}")
        }
    }

    /**
     * Returns a map: `arguments` (strings plain, lists of strings lists) and `stage` (what the step runs, with the
     * credentials to bind), or `problem`.
     */
    @NonCPS
    Map check(StepTable table, String step, Map raw) {
        Map record = table.step(step)
        Map values = typed(step, record, raw)
        if (values.problem) {
            return values
        }
        Map arguments = values.arguments
        if (record.anyStage) {
            String stageStep = table.stepOf(arguments.stage)
            if (stageStep == null) {
                return [problem: "${step}: no stage '${arguments.stage}'; ${new NearestName(table.stages()).hint(arguments.stage)}".toString()]
            }
            record = table.step(stageStep)
        }
        Map credentials = neededCredentials(table.credentials(), arguments.credentials ?: [:], record.stage)
        if (credentials.problem) {
            return [problem: "${step}: ${credentials.problem}".toString()]
        }
        Map stage = record.findAll { name, value -> !(name in ['summary', 'about', 'arguments']) }
        stage << [contract: table.contract(), schema: table.reportSchema(), credentials: credentials.needed, needs: record.needs ?: [],
                  modelStage: table.stageWith('summarizesModel'), engine: record.engine || record.engineWith.any { arguments[it] }]
        return [arguments: arguments, stage: stage]
    }

    /** The arguments as the types that the step expects, or the problem with one of them. */
    @NonCPS
    private Map typed(String step, Map record, Map raw) {
        Map arguments = [:]
        for (Map.Entry entry in raw.entrySet()) {
            String name = entry.key
            Map expected = record.arguments[name]
            if (expected == null) {
                return [problem: "${step}: unknown argument '${name}'; ${new NearestName(record.arguments.keySet()).hint(name)} (docs/reference/steps.md)".toString()]
            }
            boolean blank = entry.value instanceof CharSequence && !entry.value.trim()
            if (entry.value == null || (blank && expected.kind == 'integer')) {
                continue
            }
            Object value = converted(expected.kind, entry.value)
            if (value == null) {
                return [problem: "${step}: '${name}' is ${quoted(entry.value)}; expected ${description(expected.kind)}".toString()]
            }
            if (expected.choices && !(value in expected.choices)) {
                return [problem: "${step}: '${name}' is ${quoted(value)}; ${new NearestName(expected.choices).hint(value)}".toString()]
            }
            arguments[name] = value
        }
        for (Map.Entry entry in record.arguments.entrySet()) {
            if (entry.value.required && arguments[entry.key] == null) {
                return [problem: "${step}: '${entry.key}' is missing: ${entry.value.help}".toString()]
            }
        }
        return [arguments: arguments]
    }

    /** The credentials of mlPipeline's arguments that a command beside the stages needs. */
    List credentialsOf(String verb, Map config) {
        return neededCredentials(new StepTable(steps.libraryResource('steps.json')).credentials(), config.credentials ?: [:], verb).needed
    }

    /** The value as the type of a kind of argument, or null if it is no such value. */
    @NonCPS
    private Object converted(String kind, Object value) {
        boolean text = value instanceof CharSequence
        switch (kind) {
            case 'text': return text ? value.toString() : null
            case 'name': return text && value ==~ '[A-Za-z0-9][A-Za-z0-9_-]{0,30}' ? value.toString() : null
            case 'path': return text && isInsideWorkspace(value.toString()) ? value.toString() : null
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
    private boolean isInsideWorkspace(String path) {
        return !path.startsWith('/') && !path.contains('\\') && !path.split('/').contains('..')
    }

    @NonCPS
    private String description(String kind) {
        return [path: 'a path inside the workspace', switch: 'true or false', integer: 'a whole number',
                texts: 'a text or a list of texts', map: 'a map', text: 'a text', name: 'letters, digits, - and _'][kind]
    }

    @NonCPS
    private String quoted(Object value) {
        String kind = value instanceof CharSequence ? 'text' : value.getClass().simpleName
        return "the ${kind} '${value.toString().take(60)}'".toString()
    }

    /** Those of the credentials that this stage needs. */
    @NonCPS
    private Map neededCredentials(Map types, Map credentials, String stage) {
        List needed = []
        for (Map.Entry entry in credentials.entrySet()) {
            String type = entry.key
            Map credential = types[type]
            if (credential == null) {
                return [problem: "unknown credential '${type}'; ${new NearestName(types.keySet()).hint(type)}"]
            }
            Map value = entry.value instanceof Map ? entry.value : [id: entry.value]
            if (!(value.id instanceof CharSequence)) {
                return [problem: "credential '${type}' is ${quoted(entry.value)}; expected an id, or [id: …, variable: …]"]
            }
            if (stage in credential.stages || stage in credential.verbs) {
                List variables = value.variable ? [value.variable.toString()] : credential.variables
                needed << [binding: credential.binding, id: value.id.toString(), variables: variables]
            }
        }
        return [needed: needed]
    }
}
