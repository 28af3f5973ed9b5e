package jenkinsfile

import com.cloudbees.groovy.cps.Outcome
import groovy.json.JsonOutput
import groovy.json.JsonSlurperClassic
import hudson.AbortException
import hudson.model.Result
import net.sf.json.JSONNull
import org.jenkinsci.plugins.pipeline.utility.steps.fs.FileWrapper

/** Steps of optional plugins, and steps that the scenario stubs. */
class OptionalSteps {
    static final StepDefinition STUBBED = new StepDefinition(name: 'stubbed', main: 'value', start: { Call call ->
        Map reply = call.run.controller.request.call([request: 'step', job: call.run.job.name, build: call.run.number, name: call.name,
                                             arguments: JsonValue.of(call.arguments), stage: ShellSteps.stageName(call)]) as Map
        call.state.value = reply.value
        call.body == null ? call.succeed(reply.value) : call.run.startBody(call)
    })

    static void register() {
        utility()
        yaml()
        cleaning()
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
            Object value = new JsonSlurperClassic().parseText(text)
            call.succeed(call.flag('returnPojo') ? value : JSONNull.of(value))
        })
        Steps.define(name: 'writeJSON', plugin: utility, needsWorkspace: true, start: { Call call ->
            String text = JsonOutput.toJson(call['json'])
            FileSteps.file(call, call.text('file')).setText(call['pretty'] ? JsonOutput.prettyPrint(text) : text, 'UTF-8')
            call.succeed()
        })
        Steps.define(name: 'findFiles', plugin: utility, needsWorkspace: true, start: { Call call ->
            File folder = FileSteps.cwd(call)
            List<String> paths = call.text('glob') ? Text.files(folder, call.text('glob'), call.text('excludes')) : (folder.list() ?: []).sort()
            call.succeed(paths.collect { new FileWrapper(folder, it) } as FileWrapper[])
        })
        Steps.define(name: 'touch', main: 'file', plugin: utility, needsWorkspace: true, start: { Call call ->
            File file = FileSteps.file(call, call.text('file'))
            file.parentFile.mkdirs()
            if (!file.exists()) { file.createNewFile() }
            file.lastModified = (call['timestamp'] ?: System.currentTimeMillis()) as long
            call.succeed(new FileWrapper(file.parentFile, file.name))
        })
    }

    private static void yaml() {
        String utility = Plugins.of('readYaml')
        Steps.define(name: 'readYaml', main: 'file', plugin: utility, start: { Call call ->
            String text = call.text('text') ?: FileSteps.file(call, call.text('file')).getText('UTF-8')
            List documents = Yaml.read(call.run, text)
            call.succeed(documents.size() == 1 ? documents[0] : documents)
        })
        Steps.define(name: 'writeYaml', plugin: utility, needsWorkspace: true, start: { Call call ->
            File file = FileSteps.file(call, call.text('file'))
            if (file.exists() && !call.flag('overwrite')) { throw new AbortException("The file already exists: ${call.text('file')}") }
            file.setText(Yaml.write(call.run, call['datas'] as List ?: [call['data']]), 'UTF-8')
            call.succeed()
        })
        Steps.define(name: 'readProperties', main: 'file', plugin: utility, start: { Call call ->
            Properties properties = new Properties()
            (call['defaults'] as Map)?.each { name, value -> properties.setProperty(name as String, value as String) }
            if (call.text('file')) { properties.load(new StringReader(FileSteps.file(call, call.text('file')).getText('UTF-8'))) }
            if (call.text('text')) { properties.load(new StringReader(call.text('text'))) }
            call.succeed(new TreeMap<>(properties))
        })
    }

    private static void cleaning() {
        Steps.define(name: 'cleanWs', main: 'cleanWhenSuccess', plugin: Plugins.of('cleanWs'), needsWorkspace: true, start: { Call call ->
            call.log('[WS-CLEANUP] Deleting project workspace...')
            FileSteps.cwd(call).listFiles().each { it.directory ? it.deleteDir() : it.delete() }
            call.log('[WS-CLEANUP] done')
            call.succeed()
        })
    }

    private static void publishing() {
        Steps.define(name: 'publishHTML', main: 'target', plugin: Plugins.of('publishHTML'), needsWorkspace: true, start: { Call call ->
            publishHtml(call)
            call.succeed()
        })
        ['publishChecks', 'slackSend', 'emailext'].each { name ->
            Steps.define(name: name, main: 'message', plugin: Plugins.of(name), start: { Call call -> call.succeed() })
        }
    }

    /** A missing folder fails the build without an exception. */
    private static void publishHtml(Call call) {
        Map target = call['target'] instanceof Map ? call['target'] as Map : call.arguments
        File folder = FileSteps.file(call, (target.reportDir ?: '') as String)
        call.log('[htmlpublisher] Archiving HTML reports...')
        call.log("[htmlpublisher] Archiving at ${target.keepAll ? 'BUILD' : 'PROJECT'} level ${folder} to ${target.reportName}")
        if (!folder.directory) {
            call.log("ERROR: Specified HTML directory '${folder}' does not exist.")
            if (!(target.allowMissing as boolean)) {
                call.run.worsen(Result.FAILURE)
                return
            }
        }
        call.log('[htmlpublisher] Copying recursive using current thread')
    }

    private static void kubernetes() {
        Steps.define(name: 'podTemplate', main: 'name', block: true, plugin: Plugins.of('podTemplate'), start: { Call call -> podTemplate(call) },
            bodyEnded: { Call call, CpsThread body, Outcome outcome ->
                call.run.controller.agents.removeAll { it.name == call.state.pod }
                FlowSteps.pass(call, outcome)
            })
        Steps.define(name: 'container', main: 'name', block: true, plugin: Plugins.of('container'), needsWorkspace: true, start: { Call call -> enter(call) },
            bodyEnded: { Call call, CpsThread body, Outcome outcome ->
                if (call.state.container) { ShellSteps.leave(call) }
                FlowSteps.pass(call, outcome)
            })
    }

    /** Run the body on the agent for the container `jnlp`, otherwise in a container of its image. */
    private static void enter(Call call) {
        Map containers = call.context['containers'] as Map ?: [:]
        String name = call.text('name')
        if (!containers.containsKey(name) && name != 'jnlp') { throw new AbortException("container ${name} not found; the pod has ${containers.keySet()}") }
        String image = containers[name]
        if (image == null) {
            call.run.startBody(call, context: [container: null])
        } else if (ShellSteps.live(call)) {
            ShellSteps.enter(call, image, '')
        } else {
            call.run.startBody(call, context: [container: [image: image]])
        }
    }

    /** Add a pod of the template as an agent. `POD_LABEL` is set unless the script gives a label. */
    private static void podTemplate(Call call) {
        Controller controller = call.run.controller
        String label = call.text('label') ?: "${call.run.job.name.replaceAll('[^A-Za-z0-9_.-]', '_')}-${call.id}"
        Map containers = (call.context['containers'] as Map ?: [:]) + containersOf(call)
        call.state.pod = label
        controller.agents << new Pod(label, controller.root, controller.scenario)
        call.run.startBody(call, context: [containers: containers, variables: call.text('label') ? [:] : [POD_LABEL: label]])
    }

    /** Images by container name, from YAML and from container templates. */
    private static Map<String, String> containersOf(Call call) {
        Map<String, String> images = [:]
        if (call.text('yaml')) {
            Object pod = Yaml.read(call.run, call.text('yaml')).find()
            ((pod instanceof Map ? pod.spec?.containers : null) ?: []).each { images[it.name as String] = it.image as String }
        }
        (call['containers'] as List ?: []).each { images[it['name'] as String] = it['image'] as String }
        images
    }
}

/** Reads and writes YAML by requests to Python. */
class Yaml {
    static List read(Run run, String text) {
        Map reply = run.controller.request.call([request: 'yaml', read: text]) as Map
        if (reply.error) { throw new AbortException("this is not YAML: ${reply.error}") }
        reply.documents as List
    }

    static String write(Run run, List documents) { (run.controller.request.call([request: 'yaml', write: JsonValue.of(documents)]) as Map).text }
}

/** An agent that is allocated only by its label. */
class Pod extends Agent {
    Pod(String name, File root, Map scenario) { super(name, [], root, scenario + [executors: 1, anyLabel: false]) }

    @Override
    boolean matches(String label) { label && super.matches(label) }
}
