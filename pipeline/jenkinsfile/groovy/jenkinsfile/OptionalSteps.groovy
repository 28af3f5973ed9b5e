package jenkinsfile

import groovy.json.JsonOutput
import groovy.json.JsonSlurperClassic

/** Steps of plugins that an installation may lack, and steps that a scenario answers. */
class OptionalSteps {
    static final StepDefinition ANSWERED = new StepDefinition(name: 'answered', main: 'value', start: { Call call ->
        Map reply = call.run.world.ask.call([ask: 'step', job: call.run.job.name, build: call.run.number, name: call.name,
                                             arguments: Plain.of(call.arguments), stage: ShellSteps.stageName(call)]) as Map
        call.state.value = reply.value
        call.body == null ? call.succeed(reply.value) : call.run.startBody(call)
    })

    static void register() {
        String utility = Steps.OPTIONAL.readJSON
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
        Steps.define(name: 'publishHTML', main: 'target', plugin: Steps.OPTIONAL.publishHTML, needsWorkspace: true, start: { Call call ->
            call.log('[htmlpublisher] Archiving HTML reports...')
            call.succeed()
        })
        ['publishChecks', 'slackSend', 'emailext'].each { name ->
            Steps.define(name: name, main: 'message', plugin: Steps.OPTIONAL[name], start: { Call call -> call.succeed() })
        }
        ['ansiColor', 'withChecks', 'podTemplate', 'container', 'sshagent'].each { name ->
            Steps.define(name: name, main: 'name', block: true, plugin: Steps.OPTIONAL[name], start: { Call call -> call.run.startBody(call) })
        }
    }
}
