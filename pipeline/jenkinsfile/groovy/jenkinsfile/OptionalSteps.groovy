package jenkinsfile

import com.cloudbees.groovy.cps.Outcome
import groovy.json.JsonOutput
import groovy.json.JsonSlurperClassic
import hudson.AbortException

/** Steps of plugins that an installation may lack, and steps that a scenario answers. */
class OptionalSteps {
    static final StepDefinition ANSWERED = new StepDefinition(name: 'answered', main: 'value', start: { Call call ->
        Map reply = call.run.world.ask.call([ask: 'step', job: call.run.job.name, build: call.run.number, name: call.name,
                                             arguments: Plain.of(call.arguments), stage: ShellSteps.stageName(call)]) as Map
        call.state.value = reply.value
        call.body == null ? call.succeed(reply.value) : call.run.startBody(call)
    })

    static void register() {
        utility()
        publishing()
        kubernetes()
        ['ansiColor', 'withChecks', 'sshagent'].each { name ->
            Steps.define(name: name, main: 'name', block: true, plugin: Plugins.of(name), start: { Call call -> call.run.startBody(call) })
        }
    }

    private static void utility() {
        String utility = Plugins.of('readJSON')
        Steps.define(name: 'readJSON', main: 'file', plugin: utility, start: { Call call ->
            String text = call.text('text') ?: FileSteps.file(call, call.text('file')).getText('UTF-8')
            call.succeed(new JsonSlurperClassic().parseText(text))
        })
        Steps.define(name: 'writeJSON', plugin: utility, needsWorkspace: true, start: { Call call ->
            String text = JsonOutput.toJson(call['json'])
            FileSteps.file(call, call.text('file')).setText(call['pretty'] ? JsonOutput.prettyPrint(text) : text, 'UTF-8')
            call.succeed()
        })
        Steps.define(name: 'findFiles', plugin: utility, needsWorkspace: true, start: { Call call ->
            call.succeed(Text.files(FileSteps.cwd(call), call.text('glob', '**')).collect { [path: it, name: new File(it).name, directory: false] })
        })
    }

    private static void publishing() {
        Steps.define(name: 'publishHTML', main: 'target', plugin: Plugins.of('publishHTML'), needsWorkspace: true, start: { Call call ->
            call.log('[htmlpublisher] Archiving HTML reports...')
            call.succeed()
        })
        ['publishChecks', 'slackSend', 'emailext'].each { name ->
            Steps.define(name: name, main: 'message', plugin: Plugins.of(name), start: { Call call -> call.succeed() })
        }
    }

    private static void kubernetes() {
        Steps.define(name: 'podTemplate', main: 'name', block: true, plugin: Plugins.of('podTemplate'), start: { Call call -> podTemplate(call) },
            bodyEnded: { Call call, CpsThread body, Outcome outcome ->
                call.run.world.agents.removeAll { it.name == call.state.pod }
                FlowSteps.pass(call, outcome)
            })
        Steps.define(name: 'container', main: 'name', block: true, plugin: Plugins.of('container'), needsWorkspace: true, start: { Call call ->
            Map containers = call.context['containers'] as Map ?: [:]
            String image = containers[call.text('name')]
            if (image == null) { throw new AbortException("container ${call['name']} not found; the pod has ${containers.keySet()}") }
            if (ShellSteps.live(call)) { Steps.lacking(call.run, 'pods cannot be run live') }
            call.run.startBody(call, context: [container: [image: image]])
        })
    }

    /** The cluster always has room for one pod of a template. `POD_LABEL` is there unless the script gives a label. */
    private static void podTemplate(Call call) {
        World world = call.run.world
        String label = call.text('label') ?: "${call.run.job.name.replaceAll('[^A-Za-z0-9_.-]', '_')}-${call.id}"
        Map containers = (call['containers'] as List ?: []).collectEntries { Describable one -> [one['name'], one['image']] }
        call.state.pod = label
        world.agents << new Pod(label, world.root, world.scenario)
        call.run.startBody(call, context: [containers: containers, variables: call.text('label') ? [:] : [POD_LABEL: label]])
    }
}

/** An agent that only those get who name it. */
class Pod extends Agent {
    Pod(String name, File root, Map scenario) { super(name, [], root, scenario + [executors: 1, anyLabel: false]) }

    @Override
    boolean matches(String label) { label && super.matches(label) }
}
