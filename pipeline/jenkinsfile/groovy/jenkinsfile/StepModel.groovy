package jenkinsfile

import java.util.concurrent.TimeUnit

/** How Jenkins makes a step of its arguments: their types, what it takes for another type, what it refuses. */
class StepModel {
    private static final String BASIC = 'org.jenkinsci.plugins.workflow.steps'
    private static final String SUPPORT = 'org.jenkinsci.plugins.workflow.support.steps'
    private static final String UTILITY = 'org.jenkinsci.plugins.pipeline.utility.steps'

    static final Map<String, StepModel> ALL = [
        archiveArtifacts: of('hudson.tasks.ArtifactArchiver', [
            artifacts: String, allowEmptyArchive: Boolean, caseSensitive: Boolean, defaultExcludes: Boolean, excludes: String,
            fingerprint: Boolean, followSymlinks: Boolean, onlyIfSuccessful: Boolean], null),
        build: of("${SUPPORT}.build.BuildTriggerStep", [
            job: String, parameters: List, propagate: Boolean, quietPeriod: Integer, wait: Boolean, waitForStart: Boolean], null),
        catchError: of("${BASIC}.CatchErrorStep", [
            message: String, buildResult: String, catchInterruptions: Boolean, stageResult: String]) { isResult(it.buildResult) && isResult(it.stageResult) },
        checkout: of("${BASIC}.scm.GenericSCMStep", [scm: Object, changelog: Boolean, poll: Boolean], null),
        deleteDir: of("${BASIC}.DeleteDirStep", [:], null),
        dir: of("${BASIC}.PushdStep", [path: String], null),
        echo: of("${BASIC}.EchoStep", [message: String], null),
        error: of("${BASIC}.ErrorStep", [message: String], null),
        fileExists: of("${BASIC}.FileExistsStep", [file: String], null),
        findFiles: of("${UTILITY}.fs.FindFilesStep", [glob: String, excludes: String], null),
        input: of("${SUPPORT}.input.InputStep", [
            message: String, cancel: String, id: String, ok: String, parameters: List, submitter: String, submitterParameter: String]) {
                !it.id || it.id ==~ /[A-Za-z0-9_.\-]+/
            },
        isUnix: of("${BASIC}.IsUnixStep", [:], null),
        junit: of('hudson.tasks.junit.pipeline.JUnitResultsStep', [
            testResults: String, allowEmptyResults: Boolean, checksName: String, healthScaleFactor: Object, keepLongStdio: Boolean,
            keepProperties: Boolean, keepTestNames: Boolean, skipMarkingBuildUnstable: Boolean, skipOldReports: Boolean,
            skipPublishingChecks: Boolean, stdioRetention: String, testDataPublishers: List], null),
        library: of('org.jenkinsci.plugins.workflow.libs.LibraryStep', [identifier: String, changelog: Boolean, retriever: Object], null),
        libraryResource: of('org.jenkinsci.plugins.workflow.libs.ResourceStep', [resource: String, encoding: String], null),
        lock: of('org.jenkins.plugins.lockableresources.LockStep', [
            resource: String, extra: List, inversePrecedence: Boolean, label: String, priority: Integer, quantity: Integer, reason: String,
            resourceSelectStrategy: String, skipIfLocked: Boolean, variable: String], null),
        mail: of("${BASIC}.MailStep", [
            subject: String, body: String, bcc: String, cc: String, charset: String, from: String, mimeType: String, replyTo: String, to: String], null),
        milestone: of('org.jenkinsci.plugins.pipeline.milestone.MilestoneStep', [ordinal: Integer, label: String, unsafe: Boolean], null),
        node: of("${SUPPORT}.ExecutorStep", [label: String], null),
        properties: of('org.jenkinsci.plugins.workflow.multibranch.JobPropertyStep', [properties: List], null),
        pwd: of("${BASIC}.PwdStep", [tmp: Boolean], null),
        readFile: of("${BASIC}.ReadFileStep", [file: String, encoding: String], null),
        readJSON: of("${UTILITY}.json.ReadJSONStep", [file: String, returnPojo: Boolean, text: String], null),
        retry: of("${BASIC}.RetryStep", [count: Integer, conditions: List], null),
        sh: of("${BASIC}.durable_task.ShellStep", [
            script: String, encoding: String, label: String, returnStatus: Boolean, returnStdout: Boolean]) { it.script != null },
        sleep: of("${BASIC}.SleepStep", [time: Integer, unit: TimeUnit], null),
        stage: of("${SUPPORT}.StageStep", [name: String, concurrency: Integer]) { it.name },
        stash: of("${SUPPORT}.stash.StashStep", [
            name: String, allowEmpty: Boolean, excludes: String, includes: String, useDefaultExcludes: Boolean]) { isGoodName(it.name) },
        timeout: of("${BASIC}.TimeoutStep", [time: Integer, activity: Boolean, unit: TimeUnit], null),
        touch: of("${UTILITY}.fs.TouchStep", [file: String, timestamp: Long], null),
        unstable: of("${BASIC}.UnstableStep", [message: String]) { it.message },
        unstash: of("${SUPPORT}.stash.UnstashStep", [name: String]) { isGoodName(it.name) },
        warnError: of("${BASIC}.WarnErrorStep", [message: String, catchInterruptions: Boolean]) { it.message },
        withCredentials: of('org.jenkinsci.plugins.credentialsbinding.impl.BindingStep', [bindings: List], null),
        withDockerContainer: of('org.jenkinsci.plugins.docker.workflow.WithContainerStep', [image: String, args: String, toolName: String], null),
        withEnv: of("${BASIC}.EnvStep", [overrides: List], String) { it.overrides?.every { String pair -> pair?.contains('=') } },
        writeFile: of("${BASIC}.WriteFileStep", [file: String, encoding: String, text: String], null),
        writeJSON: of("${UTILITY}.json.WriteJSONStep", [file: String, json: Object, pretty: Integer, returnText: Boolean], null),
        ws: of("${SUPPORT}.WorkspaceStep", [dir: String], null),
    ]

    final String type
    private final Map<String, Class> parameters
    /** Of what a parameter that is a list holds; null for anything. */
    private final Class element
    private final Closure<Boolean> accepts

    private StepModel(String type, Map<String, Class> parameters, Class element, Closure accepts) {
        this.type = type
        this.parameters = parameters
        this.element = element
        this.accepts = accepts
    }

    private static StepModel of(CharSequence type, Map<String, Class> parameters, Closure accepts) { of(type, parameters, null, accepts) }

    private static StepModel of(CharSequence type, Map<String, Class> parameters, Class element, Closure accepts) {
        new StepModel(type.toString(), parameters, element, accepts)
    }

    /** Whether a map given to the step is the value of its only parameter. */
    boolean isSole() { parameters.size() == 1 && type =~ /\.(EchoStep|ErrorStep|PushdStep|EnvStep|FileExistsStep|UnstableStep|UnstashStep|WorkspaceStep)$/ }

    /** The arguments as the step has them. What it does not know is told and left out. */
    Map<String, Object> instantiate(Map<String, Object> given, Closure warn) {
        List<String> unknown = given.keySet().findAll { !(it in parameters) }.toList()
        Map<String, Object> taken = [:]
        try {
            parameters.each { name, wanted -> if (given.containsKey(name)) { taken[name] = coerced(name, wanted, given[name]) } }
            if (accepts != null && !accepts.call(taken)) { throw new java.lang.reflect.InvocationTargetException(null) }
        } catch (Exception error) {
            throw new IllegalArgumentException("Could not instantiate ${String.valueOf((Object) given)} for ${type}: ${error}")
        }
        if (unknown) { warn.call("WARNING: Unknown parameter(s) found for class type '${type}': ${unknown.join(',')}") }
        taken
    }

    private Object coerced(String name, Class wanted, Object value) {
        if (value == null || wanted == Object) { return value }
        if (wanted.isInstance(value)) { return wanted == List && element != null ? value.collect { coerced(name, element, it) } : value }
        if (wanted == TimeUnit && value instanceof String) { return TimeUnit.valueOf(value) }
        if (wanted == List && value instanceof Map) { throw new UnsupportedOperationException('must specify $class with an implementation of interface java.util.List') }
        if (wanted == String && value instanceof Map) { throw new NoStaplerConstructorException('There\'s no @DataBoundConstructor on any constructor of class java.lang.String') }
        if (wanted in [Integer, Long] && value instanceof Number) { return value.asType(wanted) }
        if (wanted == Boolean && value instanceof String) { return value.toBoolean() }
        if (wanted in [Integer, Long] && value instanceof String) {
            if (value ==~ /-?\d+/) { return value.asType(wanted) }
            throw new ClassCastException("${type}.${name} expects ${wanted} but was unable to coerce the received value \"${value}\" to that type")
        }
        String expected = wanted == List ? "java.util.List<${(element ?: Object).name}>" : wanted
        throw new ClassCastException("${type}.${name} expects ${expected} but received ${value.class}")
    }

    private static boolean isResult(Object name) { name == null || hudson.model.Result.values()*.name().contains((name as String).toUpperCase()) }

    private static boolean isGoodName(String name) { name && !(name =~ /[?*\/\\%!@#$^&|<>\[\]:;]/) && !(name in ['.', '..']) }
}

/** What Stapler throws of a value for which it has no constructor. */
class NoStaplerConstructorException extends Exception {
    NoStaplerConstructorException(String message) { super(message) }

    @Override
    String toString() { "org.kohsuke.stapler.NoStaplerConstructorException: ${message}" }
}
