package jenkinsfile

import com.cloudbees.groovy.cps.Outcome
import java.nio.file.NoSuchFileException
import org.jenkinsci.plugins.workflow.cps.CpsCompilationErrorsException

/** `load`, and `step` and `wrap`, which run another step by its class name. */
class ScriptSteps {
    private static final Map<String, String> BUILDERS = [
        ArtifactArchiver: 'archiveArtifacts', Fingerprinter: 'fingerprint', HtmlPublisher: 'publishHTML', JUnitResultArchiver: 'junit', Mailer: 'mail',
        WsCleanup: 'cleanWs',
    ]
    /** Publishers that the console shows as `step`. */
    private static final List<String> SHOWN_AS_STEP = ['JUnitResultArchiver', 'Mailer']
    private static final Map<String, String> WRAPPERS = [AnsiColorBuildWrapper: 'ansiColor', TimestamperBuildWrapper: 'timestamps']

    static void register() {
        Steps.define(name: 'load', main: 'path', block: true, bodyless: true, needsWorkspace: true, start: { Call call -> load(call) })
        Steps.define(name: 'step', main: 'delegate', needsWorkspace: true, start: { Call call -> runNamed(call) })
        Steps.define(name: 'wrap', main: 'delegate', block: true, start: { Call call -> wrap(call) }, bodyEnded: { Call call, CpsThread body, Outcome outcome ->
            FlowSteps.pass(call, outcome)
        })
    }

    private static void load(Call call) {
        File file = FileSteps.file(call, call.text('path'))
        if (!file.file) { throw new NoSuchFileException(file.path) }
        PipelineScript script
        try {
            script = call.run.compileScript(file.getText('UTF-8'))
        } catch (CompilationError error) {
            throw new CpsCompilationErrorsException(error.message)
        }
        call.run.startBody(call, body: script, label: call['path'])
    }

    /** Run the step of a publisher with the same arguments. */
    private static void runNamed(Call call) {
        Map arguments = described(call)
        String name = arguments['$class']
        String step = BUILDERS[name?.tokenize('.')?.last()]
        if (!arguments) {
            throw new JenkinsException(new NullPointerException('Cannot invoke "jenkins.tasks.SimpleBuildStep.requiresWorkspace()" because "this.delegate" is null'))
        }
        if (name == null) { throw unknown(call, 'CoreStep', 'must specify $class with an implementation of interface jenkins.tasks.SimpleBuildStep') }
        if (step == 'mail') { // mail is sent only if the build has a result
            call.log("No mail will be sent out, as '${call.run.job.name} ${call.run.displayName}' does not have a result yet. " +
                'Please make sure you set a proper result in case of pipeline/build scripts.')
            call.succeed()
            return
        }
        if (step == null || !Steps.isInstalled(step, call.run.scenario.plugins as List)) {
            Steps.reportUnsupported(call.run, "step([\$class: '${name}']) is not supported by pytest-jenkinsfile; supported: ${BUILDERS.keySet().sort()}; " +
                "stub it with steps={'step': ...}, or --step step")
        }
        StepDefinition definition = Steps.definition(step)
        call.arguments.clear()
        call.arguments.putAll(arguments.findAll { it.key != '$class' })
        definition.instantiate(call)
        definition.start.call(call)
    }

    /** The name in the console for a call of `step`. */
    static String heading(Call call) {
        String name = (described(call)['$class'] as String)?.tokenize('.')?.last()
        name in SHOWN_AS_STEP ? 'step' : BUILDERS[name] ?: 'step'
    }

    private static void wrap(Call call) {
        Map arguments = described(call)
        String name = (arguments['$class'] as String)?.tokenize('.')?.last()
        if (!WRAPPERS.containsKey(name)) {
            Steps.reportUnsupported(call.run, "wrap([\$class: '${arguments['$class']}']) is not supported by pytest-jenkinsfile; supported: ${WRAPPERS.keySet().sort()}; " +
                "stub it with steps={'wrap': ...}, or --step wrap")
        }
        call.run.startBody(call)
    }

    private static Map described(Call call) {
        Object delegate = call.arguments.containsKey('delegate') ? call['delegate'] : call.arguments
        delegate instanceof Describable ? [$class: delegate.symbol] + delegate.arguments : delegate instanceof Map ? delegate : [:]
    }

    private static IllegalArgumentException unknown(Call call, String type, String why) {
        new IllegalArgumentException("Could not instantiate {delegate=${String.valueOf((Object) described(call))}} for org.jenkinsci.plugins.workflow.steps.${type}: " +
            "java.lang.UnsupportedOperationException: ${why}")
    }
}
