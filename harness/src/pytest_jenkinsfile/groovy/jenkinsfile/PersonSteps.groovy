package jenkinsfile

import hudson.model.Result
import jenkins.model.CauseOfInterruption
import org.jenkinsci.plugins.workflow.steps.FlowInterruptedException
import org.jenkinsci.plugins.workflow.support.steps.input.Rejection

/** `input`: the scenario plays the person. */
class PersonSteps {
    static void register() {
        Steps.define(name: 'input', main: 'message', start: { Call call ->
            String id = call.text('id')
            call.state.id = id ? id.capitalize() : null
            Object odd = (call['parameters'] as List ?: []).find { !(it instanceof Describable) }
            if (odd != null) {
                String type = StepModel.ALL.input.type
                throw new IllegalArgumentException("Could not instantiate ${String.valueOf((Object) call.arguments)} for ${type}: " +
                    "java.lang.ClassCastException: class ${type}.setParameters() expects class hudson.model.ParameterDefinition but received ${odd.getClass()}")
            }
            if (call['parameters']) {
                call.log('Input requested')
            } else {
                call.log(call.text('message', 'Pipeline has paused and needs your input before proceeding'))
                call.log("${call.text('ok') ?: 'Proceed'} or ${call.text('cancel') ?: 'Abort'}")
            }
            call.state.attempt = 0
            ask(call)
        }, event: { Call call, String what -> decide(call, call.state.decision as Map) })
    }

    private static void ask(Call call) {
        Run run = call.run
        Map reply = run.world.ask.call([
            ask: 'input', job: run.job.name, build: run.number, id: call.state.id, message: call['message'],
            ok: call['ok'], submitter: call['submitter'], submitterParameter: call['submitterParameter'],
            parameters: Plain.of(call['parameters'] ?: []), attempt: call.state.attempt, prompt: call.id,
            stage: ShellSteps.stageName(call),
        ]) as Map
        call.state.attempt = (call.state.attempt as int) + 1
        if (reply.do == 'ignore') {
            run.waitsAt = call.state.id ?: 'input'
            return
        }
        call.state.decision = reply
        run.world.at(Text.millis(reply.after ?: 0, 'SECONDS'), call, 'input')
    }

    private static void decide(Call call, Map decision) {
        Run run = call.run
        String by = decision.by
        if (decision.do == 'reject') {
            call.fail(new FlowInterruptedException(Result.ABORTED, new Rejection(shortDescription: "Rejected by ${by}", userName: by)))
        } else if (decision.do == 'abort') {
            run.world.interrupt(run, Result.ABORTED, new CauseOfInterruption.UserInterruption(shortDescription: "Aborted by ${by}", userId: by))
        } else if (!allowed(run, call.text('submitter'), by)) {
            refuse(call, by, 400)
        } else if (!fits(call, decision.values as Map ?: [:])) {
            refuse(call, by, 500)
        } else {
            call.log("Approved by ${by}")
            call.succeed(answer(call, decision.values as Map ?: [:], by))
        }
    }

    /** The prompt goes on waiting. */
    private static void refuse(Call call, String by, int status) {
        call.run.refusals << [input: call.state.id, by: by, status: status]
        ask(call)
    }

    /** Whether the form holds nothing but what the prompt asks for, and of a choice one of the list. */
    private static boolean fits(Call call, Map values) {
        List<Describable> asked = call['parameters'] as List ?: []
        values.every { name, value ->
            Describable parameter = asked.find { it['name'] == name }
            parameter != null && (parameter.symbol != 'choice' || (value as String) in JobProperties.choices(parameter))
        }
    }

    /** Administrators may always approve; the person who started the build has no special rights. */
    private static boolean allowed(Run run, String submitter, String by) {
        List<String> named = (submitter ?: '').split(',')*.trim()*.toLowerCase().findAll()
        Map<String, List> groups = run.scenario.groups as Map
        List<String> own = [by, 'authenticated'] + groups.findAll { by in it.value }.keySet()
        named.empty || by in (run.scenario.administrators as List) || own.any { it?.toLowerCase() in named }
    }

    /** None, one bare value, or a map; what the client leaves out is not filled in. */
    private static Object answer(Call call, Map values, String by) {
        Map<String, Object> given = new HashMap<>()
        (call['parameters'] as List ?: []).each { Describable parameter ->
            String name = parameter['name']
            if (values.containsKey(name)) {
                given[name] = JobProperties.given(parameter, parameter.symbol == 'booleanParam' ? values[name] : values[name] as String)
            }
        }
        if (call['submitterParameter']) { given[call.text('submitterParameter')] = by }
        given.size() == 0 ? null : given.size() == 1 ? given.values().first() : given
    }
}
