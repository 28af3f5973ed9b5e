package jenkinsfile

import java.util.concurrent.TimeUnit

/** The parameters of a step in Jenkins: types, conversions, and the errors of wrong arguments. */
class StepModel {
    private static final String BASIC = 'org.jenkinsci.plugins.workflow.steps'
    private static final String SUPPORT = 'org.jenkinsci.plugins.workflow.support.steps'
    private static final String UTILITY = 'org.jenkinsci.plugins.pipeline.utility.steps'

    private static final StepModel HTML = of('htmlpublisher.HtmlPublisherTarget', 6, [reportName: String, reportDir: String, reportFiles: String, keepAll: boolean,
            alwaysLinkToLastBuild: boolean, allowMissing: boolean, escapeUnderscores: boolean, icon: String, includes: String,
            numberOfWorkers: int, reportTitles: String, useWrapperFileDirectly: boolean])

    static final Map<String, StepModel> ALL = [
        archive: of("${BASIC}.ArtifactArchiverStep", 1, [includes: String, excludes: String]),
        archiveArtifacts: of('hudson.tasks.ArtifactArchiver', 1, [artifacts: String, allowEmptyArchive: boolean, caseSensitive: boolean,
            defaultExcludes: boolean, excludes: String, fingerprint: boolean, followSymlinks: boolean, onlyIfSuccessful: boolean]),
        bat: of("${BASIC}.durable_task.BatchScriptStep", 1, [script: String, encoding: String, label: String, returnStatus: boolean,
            returnStdout: boolean]) { it.script != null },
        build: of("${SUPPORT}.build.BuildTriggerStep", 1, [job: String, parameters: List, propagate: boolean, quietPeriod: Integer,
            wait: boolean, waitForStart: boolean]),
        catchError: of("${BASIC}.CatchErrorStep", 0, [buildResult: String, catchInterruptions: boolean, message: String,
            stageResult: String]) { isResult(it.buildResult) && isResult(it.stageResult) },
        checkout: of("${BASIC}.scm.GenericSCMStep", 1, [scm: 'class hudson.scm.SCM', changelog: boolean, poll: boolean]),
        cleanWs: of('hudson.plugins.ws_cleanup.WsCleanup', 0, [cleanWhenAborted: boolean, cleanWhenFailure: boolean,
            cleanWhenNotBuilt: boolean, cleanWhenSuccess: boolean, cleanWhenUnstable: boolean, cleanupMatrixParent: boolean,
            deleteDirs: boolean, disableDeferredWipeout: boolean, externalDelete: String, notFailBuild: boolean, patterns: List,
            skipWhenFailed: boolean]),
        compareVersions: of("${UTILITY}.CompareVersionsStep", 2, [v1: String, v2: String, failIfEmpty: boolean]),
        deleteDir: of("${BASIC}.DeleteDirStep", 0, [:]),
        dir: of("${SUPPORT}.PushdStep", 1, [path: String]),
        echo: of("${BASIC}.EchoStep", 1, [message: String]),
        error: of("${BASIC}.ErrorStep", 1, [message: String]),
        fileExists: of("${BASIC}.FileExistsStep", 1, [file: String]),
        findFiles: of("${UTILITY}.fs.FindFilesStep", 0, [excludes: String, glob: String]),
        fingerprint: of('hudson.tasks.Fingerprinter', 1, [targets: String, caseSensitive: boolean, defaultExcludes: boolean,
            excludes: String]),
        git: of('jenkins.plugins.git.GitStep', 1, [url: String, branch: String, changelog: boolean, credentialsId: String, poll: boolean]),
        input: of("${SUPPORT}.input.InputStep", 1, [message: String, cancel: String, id: String, ok: String, parameters: List,
            submitter: String, submitterParameter: String]) { !it.id || (it.id ==~ /[A-Za-z0-9_.:\-]+/ && !(it.id in ['.', '..'])) },
        isUnix: of("${BASIC}.IsUnixStep", 0, [:]),
        junit: of('hudson.tasks.junit.pipeline.JUnitResultsStep', 1, [testResults: String, allowEmptyResults: boolean, checksName: String,
            healthScaleFactor: double, keepLongStdio: boolean, keepProperties: boolean, keepTestNames: boolean,
            skipMarkingBuildUnstable: boolean, skipOldReports: boolean, skipPublishingChecks: boolean, stdioRetention: String,
            testDataPublishers: List]),
        library: of('org.jenkinsci.plugins.workflow.libs.LibraryStep', 1, [identifier: String, changelog: Boolean,
            retriever: 'class org.jenkinsci.plugins.workflow.libs.LibraryRetriever']),
        libraryResource: of('org.jenkinsci.plugins.workflow.libs.ResourceStep', 1, [resource: String, encoding: String]),
        load: of('org.jenkinsci.plugins.workflow.cps.steps.LoadStep', 1, [path: String]),
        lock: of('org.jenkins.plugins.lockableresources.LockStep', 1, [resource: String, extra: List, inversePrecedence: boolean,
            label: String, priority: int, quantity: int, resourceSelectStrategy: String, skipIfLocked: boolean, variable: String,
            reason: String]),
        mail: of("${BASIC}.MailStep", 2, [subject: String, body: String, bcc: String, cc: String, charset: String, from: String,
            mimeType: String, replyTo: String, to: String]),
        md5: of("${UTILITY}.fs.FileMd5Step", 1, [file: String]),
        milestone: of('org.jenkinsci.plugins.pipeline.milestone.MilestoneStep', 1, [ordinal: Integer, label: String, unsafe: boolean]),
        node: of("${SUPPORT}.ExecutorStep", 1, [label: String]),
        nodesByLabel: of("${UTILITY}.jenkins.NodesByLabelStep", 1, [label: String, offline: boolean]),
        powershell: of("${BASIC}.durable_task.PowershellScriptStep", 1, [script: String, encoding: String, label: String,
            returnStatus: boolean, returnStdout: boolean]) { it.script != null },
        properties: of('org.jenkinsci.plugins.workflow.multibranch.JobPropertyStep', 1, [properties: List]),
        publishHTML: of('htmlpublisher.workflow.PublishHTMLStep', 1, [target: HTML]),
        pwd: of("${BASIC}.PwdStep", 0, [tmp: boolean]),
        pwsh: of("${BASIC}.durable_task.PowerShellCoreScriptStep", 1, [script: String, encoding: String, label: String,
            returnStatus: boolean, returnStdout: boolean]) { it.script != null },
        readFile: of("${BASIC}.ReadFileStep", 1, [file: String, encoding: String]),
        readJSON: of("${UTILITY}.json.ReadJSONStep", 0, [file: String, returnPojo: boolean, text: String]),
        readProperties: of("${UTILITY}.conf.ReadPropertiesStep", 0, [charset: String, defaults: Map, file: String, interpolate: Boolean,
            text: String]),
        readTrusted: of('org.jenkinsci.plugins.workflow.multibranch.ReadTrustedStep', 1, [path: String]),
        readYaml: of("${UTILITY}.conf.ReadYamlStep", 0, [codePointLimit: int, file: String, maxAliasesForCollections: int, text: String]),
        retry: of("${BASIC}.RetryStep", 1, [count: int, conditions: List]),
        sh: of("${BASIC}.durable_task.ShellStep", 1, [script: String, encoding: String, label: String, returnStatus: boolean,
            returnStdout: boolean]) { it.script != null },
        sha1: of("${UTILITY}.fs.FileSha1Step", 1, [file: String]),
        sha256: of("${UTILITY}.fs.FileSha256Step", 1, [file: String]),
        sleep: of("${BASIC}.SleepStep", 1, [time: int, unit: TimeUnit]),
        stage: of("${SUPPORT}.StageStep", 1, [name: String, concurrency: Integer]) { it.name },
        stash: of("${SUPPORT}.stash.StashStep", 1, [name: String, allowEmpty: boolean, excludes: String, includes: String,
            useDefaultExcludes: boolean]) { isValidName(it.name) },
        step: of("${BASIC}.CoreStep", 1, [delegate: 'interface jenkins.tasks.SimpleBuildStep']),
        timeout: of("${BASIC}.TimeoutStep", 1, [time: int, activity: boolean, unit: TimeUnit]),
        timestamps: of('hudson.plugins.timestamper.pipeline.TimestamperStep', 0, [:]),
        tool: of("${BASIC}.ToolStep", 1, [name: String, type: String]),
        touch: of("${UTILITY}.fs.TouchStep", 1, [file: String, timestamp: Long]),
        unstable: of("${BASIC}.UnstableStep", 1, [message: String]) { it.message },
        unstash: of("${SUPPORT}.stash.UnstashStep", 1, [name: String]) { isValidName(it.name) },
        unzip: of("${UTILITY}.zip.UnZipStep", 1, [zipFile: String, charset: String, dir: String, file: String, glob: String, quiet: boolean,
            read: boolean, test: boolean]),
        waitUntil: of("${BASIC}.WaitForConditionStep", 0, [initialRecurrencePeriod: long, quiet: boolean]),
        warnError: of("${BASIC}.WarnErrorStep", 1, [message: String, catchInterruptions: boolean]) { it.message },
        withCredentials: of('org.jenkinsci.plugins.credentialsbinding.impl.BindingStep', 1, [bindings: List]),
        withDockerContainer: of('org.jenkinsci.plugins.docker.workflow.WithContainerStep', 1, [image: String, args: String,
            toolName: String]),
        withEnv: of("${BASIC}.EnvStep", 1, [overrides: List], String) { it.overrides?.every { String pair -> pair?.contains('=') } },
        wrap: of("${BASIC}.CoreWrapperStep", 1, [delegate: 'class jenkins.tasks.SimpleBuildWrapper']),
        writeFile: of("${BASIC}.WriteFileStep", 2, [file: String, text: String, encoding: String]),
        writeJSON: of("${UTILITY}.json.WriteJSONStep", 1, [json: Object, file: String, pretty: int, returnText: boolean]),
        writeYaml: of("${UTILITY}.conf.WriteYamlStep", 0, [charset: String, data: Object, datas: Collection, file: String,
            overwrite: boolean, returnText: boolean]),
        ws: of("${SUPPORT}.WorkspaceStep", 1, [dir: String]),
        zip: of("${UTILITY}.zip.ZipStep", 1, [zipFile: String, archive: boolean, defaultExcludes: boolean, dir: String, exclude: String,
            file: String, glob: String, overwrite: boolean]),
    ]
    /** Calls in `options`, `parameters` and `triggers` that are not steps. */
    static final Map<String, StepModel> DESCRIBABLES = [
        buildDiscarder: of('jenkins.model.BuildDiscarderProperty', 1, [strategy: Object]),
        logRotator: of('hudson.tasks.LogRotator', 4, [daysToKeepStr: String, numToKeepStr: String, artifactDaysToKeepStr: String,
            artifactNumToKeepStr: String, removeLastBuild: boolean]),
        disableConcurrentBuilds: of('org.jenkinsci.plugins.workflow.job.properties.DisableConcurrentBuildsJobProperty', 0,
            [abortPrevious: boolean]),
        disableResume: of('org.jenkinsci.plugins.workflow.job.properties.DisableResumeJobProperty', 0, [:]),
        rateLimitBuilds: of('jenkins.branch.RateLimitBranchProperty$JobPropertyImpl', 1, [throttle: Object]),
        cron: of('hudson.triggers.TimerTrigger', 1, [spec: String]),
        pollSCM: of('hudson.triggers.SCMTrigger', 1, [scmpoll_spec: String, ignorePostCommitHooks: boolean]),
        upstream: of('jenkins.triggers.ReverseBuildTrigger', 1, [upstreamProjects: String, threshold: Object]),
        string: of('hudson.model.StringParameterDefinition', 1, [name: String, defaultValue: String, description: String, trim: boolean]),
        booleanParam: of('hudson.model.BooleanParameterDefinition', 1, [name: String, defaultValue: boolean, description: String]),
        choice: of('hudson.model.ChoiceParameterDefinition', 1, [name: String, description: String, choices: Object]),
        text: of('hudson.model.TextParameterDefinition', 1, [name: String, defaultValue: String, description: String, trim: boolean]),
        file: of('hudson.model.FileParameterDefinition', 1, [name: String, description: String]),
        run: of('hudson.model.RunParameterDefinition', 3, [name: String, projectName: String, description: String, filter: Object]),
        disableRestartFromStage: of('org.jenkinsci.plugins.pipeline.modeldefinition.options.impl.DisableRestartFromStage', 0, [:]),
        newContainerPerStage: of('org.jenkinsci.plugins.docker.workflow.declarative.ContainerPerStage', 0, [:]),
        overrideIndexTriggers: of('jenkins.branch.OverrideIndexTriggersJobProperty', 1, [enableTriggers: boolean]),
        parallelsAlwaysFailFast: of('org.jenkinsci.plugins.pipeline.modeldefinition.options.impl.ParallelsAlwaysFailFast', 0, [:]),
        preserveStashes: of('org.jenkinsci.plugins.pipeline.modeldefinition.properties.PreserveStashesJobProperty', 0, [buildCount: int]),
        skipDefaultCheckout: of('org.jenkinsci.plugins.pipeline.modeldefinition.options.impl.SkipDefaultCheckout', 1,
            [skipDefaultCheckout: Boolean]),
        skipStagesAfterUnstable: of('org.jenkinsci.plugins.pipeline.modeldefinition.options.impl.SkipStagesAfterUnstable', 0, [:]),
        checkoutToSubdirectory: of('org.jenkinsci.plugins.pipeline.modeldefinition.options.impl.CheckoutToSubdirectory', 1,
            [subdirectory: String]),
    ]
    static final Map<String, StepModel> CONDITIONS = [
        branch: of('org.jenkinsci.plugins.pipeline.modeldefinition.when.impl.BranchConditional', 1, [pattern: String, comparator: String]),
        buildingTag: of('org.jenkinsci.plugins.pipeline.modeldefinition.when.impl.BuildingTagConditional', 0, [comparator: String]),
        changelog: of('org.jenkinsci.plugins.pipeline.modeldefinition.when.impl.ChangeLogConditional', 1, [pattern: String]),
        changeset: of('org.jenkinsci.plugins.pipeline.modeldefinition.when.impl.ChangeSetConditional', 1, [pattern: String,
            caseSensitive: boolean, comparator: String]),
        changeRequest: of('org.jenkinsci.plugins.pipeline.modeldefinition.when.impl.ChangeRequestConditional', 0, [author: String,
            authorDisplayName: String, authorEmail: String, branch: String, comparator: String, fork: String, id: String, target: String,
            title: String, url: String]),
        environment: of('org.jenkinsci.plugins.pipeline.modeldefinition.when.impl.EnvironmentConditional', 2, [name: String, value: String,
            ignoreCase: boolean]),
        equals: of('org.jenkinsci.plugins.pipeline.modeldefinition.when.impl.EqualsConditional', 2, [expected: Object, actual: Object]),
        isRestartedRun: of('org.jenkinsci.plugins.pipeline.modeldefinition.when.impl.IsRestartedRunConditional', 0, [:]),
        tag: of('org.jenkinsci.plugins.pipeline.modeldefinition.when.impl.TagConditional', 1, [pattern: String, comparator: String]),
        triggeredBy: of('org.jenkinsci.plugins.pipeline.modeldefinition.when.impl.TriggeredByConditional', 1, [cause: String,
            detail: String]),
    ]
    /** Steps whose arguments are checked in Declarative pipelines only. */
    private static final List<String> UNCHECKED = ['archive', 'cleanWs', 'publishHTML', 'step', 'timestamps', 'waitUntil', 'wrap']

    private static final Map<Class, Class> BOXED = [(boolean): Boolean, (int): Integer, (long): Long, (double): Double]

    final String type
    /** Types by name, required parameters first: a class, the name of a class of Jenkins, or the model of a nested value. */
    final Map<String, Object> parameters
    final List<String> required
    /** The element type of a list parameter; null for any. */
    private final Class element
    private final Closure<Boolean> accepts

    private StepModel(String type, int required, Map<String, Object> parameters, Class element, Closure accepts) {
        this.type = type
        this.required = parameters.keySet().take(required).toList()
        this.parameters = parameters
        this.element = element
        this.accepts = accepts
    }

    private static StepModel of(CharSequence type, int required, Map<String, Object> parameters, Class element = null, Closure accepts = null) {
        new StepModel(type.toString(), required, parameters, element, accepts)
    }

    private static StepModel of(CharSequence type, int required, Map<String, Object> parameters, Closure accepts) {
        of(type, required, parameters, null, accepts)
    }

    /** The model that checks a step at run time, or null. */
    static StepModel atRunTime(String step) { step in UNCHECKED ? null : ALL[step] }

    /** The only required parameter, or null. */
    String getSoleRequired() { required.size() == 1 ? required[0] : null }

    /** Whether a map given to the step is the value of its only parameter. */
    boolean isSole() { parameters.size() == 1 && type =~ /\.(EchoStep|ErrorStep|PushdStep|EnvStep|FileExistsStep|UnstableStep|UnstashStep|WorkspaceStep)$/ }

    /** Convert the arguments of a step; unknown ones are logged and dropped. */
    Map<String, Object> instantiate(Map<String, Object> arguments, Closure warn) {
        List<String> unknown = arguments.keySet().findAll { !(it in parameters) }.toList()
        Map<String, Object> converted = [:]
        try {
            parameters.each { name, expected -> if (arguments.containsKey(name)) { converted[name] = coerce(name, expected, arguments[name]) } }
            if (accepts != null && !accepts.call(converted)) { throw new java.lang.reflect.InvocationTargetException(null) }
        } catch (Exception error) {
            throw new IllegalArgumentException("Could not instantiate ${String.valueOf((Object) arguments)} for ${type}: ${error}", error)
        }
        if (unknown) { warn.call("WARNING: Unknown parameter(s) found for class type '${type}': ${unknown.join(',')}") }
        converted
    }

    private Object coerce(String name, Object type, Object value) {
        if (!(type instanceof Class) || type == Object) { return value }
        if (value == null) { return type == boolean ? false : type.primitive ? 0 : null }
        convert(name, BOXED[type] ?: type, value)
    }

    private Object convert(String name, Class type, Object value) {
        if (type.isInstance(value)) { return type == List && element != null ? value.collect { coerce(name, element, it) } : value }
        if (type == TimeUnit && value instanceof String) { return TimeUnit.valueOf(value) }
        if (type == List && value instanceof Describable) {
            throw new UnsupportedOperationException("no known implementation of interface java.util.List is using symbol ‘${value.symbol}’")
        }
        if (type == List && value instanceof Map) { throw new UnsupportedOperationException('must specify $class with an implementation of interface java.util.List') }
        if (type == String && value instanceof Map) { throw new NoStaplerConstructorException('There\'s no @DataBoundConstructor on any constructor of class java.lang.String') }
        if (Number.isAssignableFrom(type) && value instanceof Number) { return value.asType(type) }
        if (type == Boolean && value instanceof String) { return value.toBoolean() }
        if (type in [Integer, Long] && value instanceof String) {
            if (value ==~ /-?\d+/) { return value.asType(type) }
            throw new ClassCastException("${place(name)} expects ${type} but was unable to coerce the received value \"${value}\" to that type")
        }
        String expected = type == List ? "java.util.List<${(element ?: Object).name}>" : type
        throw new ClassCastException("${place(name)} expects ${expected} but received ${value.class}")
    }

    /** The place of a parameter in messages: required ones are in the constructor, others in setters. */
    private String place(String name) { name in required ? "${type}.${name}" : "class ${type}.set${name.capitalize()}()" }

    private static boolean isResult(Object name) { name == null || hudson.model.Result.values()*.name().contains((name as String).toUpperCase()) }

    private static boolean isValidName(String name) { name && !(name =~ /[?*\/\\%!@#$^&|<>\[\]:;]/) && !(name in ['.', '..']) }
}

/** The exception of Stapler for a value without a constructor. */
class NoStaplerConstructorException extends Exception {
    NoStaplerConstructorException(String message) { super(message) }

    @Override
    String toString() { "org.kohsuke.stapler.NoStaplerConstructorException: ${message}" }
}
