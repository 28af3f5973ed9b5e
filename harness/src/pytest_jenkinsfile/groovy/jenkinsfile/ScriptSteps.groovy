package jenkinsfile

import com.cloudbees.groovy.cps.Outcome
import java.nio.file.NoSuchFileException
import org.jenkinsci.plugins.workflow.cps.CpsCompilationErrorsException

/** `load`, and the steps that run another one by the name of its class. */
class ScriptSteps {
    private static final Map<String, String> BUILDERS = [
        ArtifactArchiver: 'archiveArtifacts', Fingerprinter: 'fingerprint', HtmlPublisher: 'publishHTML', JUnitResultArchiver: 'junit', Mailer: 'mail',
        WsCleanup: 'cleanWs',
    ]
    /** Those that the console does not name by their own step. */
    private static final List<String> NAMELESS = ['JUnitResultArchiver', 'Mailer']
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
            script = call.run.evaluated(file.getText('UTF-8'))
        } catch (NotCompiled error) {
            throw new CpsCompilationErrorsException(error.message)
        }
        call.run.startBody(call, body: script, label: call['path'])
    }

    /** The step that a publisher is, with the same arguments. */
    private static void runNamed(Call call) {
        Map given = described(call)
        String name = given['$class']
        String step = BUILDERS[name?.tokenize('.')?.last()]
        if (!given) {
            throw new AsInJenkins(new NullPointerException('Cannot invoke "jenkins.tasks.SimpleBuildStep.requiresWorkspace()" because "this.delegate" is null'))
        }
        if (name == null) { throw unknown(call, 'CoreStep', 'must specify $class with an implementation of interface jenkins.tasks.SimpleBuildStep') }
        if (step == 'mail') { // a mail is sent only once there is a result
            call.log("No mail will be sent out, as '${call.run.job.name} ${call.run.displayName}' does not have a result yet. " +
                'Please make sure you set a proper result in case of pipeline/build scripts.')
            call.succeed()
            return
        }
        if (step == null || !Steps.isInstalled(step, call.run.scenario.plugins as List)) {
            Steps.refuseGap(call.run, "step([\$class: '${name}']) is not in this harness, which knows ${BUILDERS.keySet().sort()}; " +
                "give its answer with steps={'step': ...}, or --step step")
        }
        StepDefinition definition = Steps.definition(step)
        call.arguments.clear()
        call.arguments.putAll(given.findAll { it.key != '$class' })
        definition.instantiate(call)
        definition.start.call(call)
    }

    /** The name that the console has for `step`. */
    static String heading(Call call) {
        String name = (described(call)['$class'] as String)?.tokenize('.')?.last()
        name in NAMELESS ? 'step' : BUILDERS[name] ?: 'step'
    }

    private static void wrap(Call call) {
        Map given = described(call)
        String name = (given['$class'] as String)?.tokenize('.')?.last()
        if (!WRAPPERS.containsKey(name)) {
            Steps.refuseGap(call.run, "wrap([\$class: '${given['$class']}']) is not in this harness, which knows ${WRAPPERS.keySet().sort()}; " +
                "give its answer with steps={'wrap': ...}, or --step wrap")
        }
        call.run.startBody(call)
    }

    private static Map described(Call call) {
        Object given = call.arguments.containsKey('delegate') ? call['delegate'] : call.arguments
        given instanceof Describable ? [$class: given.symbol] + given.arguments : given instanceof Map ? given : [:]
    }

    private static IllegalArgumentException unknown(Call call, String type, String why) {
        new IllegalArgumentException("Could not instantiate {delegate=${String.valueOf((Object) described(call))}} for org.jenkinsci.plugins.workflow.steps.${type}: " +
            "java.lang.UnsupportedOperationException: ${why}")
    }
}
