package jenkinsfile

import hudson.model.Result
import jenkins.model.CauseOfInterruption
import org.jenkinsci.plugins.workflow.steps.FlowInterruptedException
import org.jenkinsci.plugins.workflow.support.steps.input.Rejection

/** `input`: answered by the scenario. */
class InputSteps {
    static void register() {
        Steps.define(name: 'input', main: 'message', start: { Call call ->
            String id = call.text('id')
            call.state.id = id ? id.capitalize() : null
            Object invalid = (call['parameters'] as List ?: []).find { !(it instanceof Describable) }
            if (invalid != null) {
                String type = StepModel.ALL.input.type
                throw new IllegalArgumentException("Could not instantiate ${String.valueOf((Object) call.arguments)} for ${type}: " +
                    "java.lang.ClassCastException: class ${type}.setParameters() expects class hudson.model.ParameterDefinition but received ${invalid.getClass()}")
            }
            if (call['parameters']) {
                call.log('Input requested')
            } else {
                call.log(call.text('message', 'Pipeline has paused and needs your input before proceeding'))
                call.log("${call.text('ok') ?: 'Proceed'} or ${call.text('cancel') ?: 'Abort'}")
            }
            call.state.attempt = 0
            promptPerson(call)
        }, event: { Call call, String what -> decide(call, call.state.decision as Map) })
    }

    private static void promptPerson(Call call) {
        Run run = call.run
        Map reply = run.controller.request.call([
            request: 'input', job: run.job.name, build: run.number, id: call.state.id, message: call['message'],
            ok: call['ok'], submitter: call['submitter'], submitterParameter: call['submitterParameter'],
            parameters: JsonValue.of(call['parameters'] ?: []), attempt: call.state.attempt, prompt: call.id,
            stage: ShellSteps.stageName(call),
        ]) as Map
        call.state.attempt = (call.state.attempt as int) + 1
        if (reply.do == 'ignore') {
            run.pendingInput = call.state.id ?: 'input'
            return
        }
        call.state.decision = reply
        run.controller.scheduleEvent(Text.millis(reply.after ?: 0, 'SECONDS'), call, 'input')
    }

    private static void decide(Call call, Map decision) {
        Run run = call.run
        String by = decision.by
        if (decision.do == 'reject') {
            call.fail(new FlowInterruptedException(Result.ABORTED, new Rejection(shortDescription: "Rejected by ${by}", userName: by)))
        } else if (decision.do == 'abort') {
            run.controller.interrupt(run, Result.ABORTED, new CauseOfInterruption.UserInterruption(shortDescription: "Aborted by ${by}", userId: by))
        } else if (!maySubmit(run, call.text('submitter'), by)) {
            refuse(call, by, 400)
        } else if (!isValidForm(call, decision.values as Map ?: [:])) {
            refuse(call, by, 500)
        } else {
            call.log("Approved by ${by}")
            call.succeed(submittedValue(call, decision.values as Map ?: [:], by))
        }
    }

    /** Refuse a submission with an HTTP status; the prompt remains open. */
    private static void refuse(Call call, String by, int status) {
        call.run.refusedSubmissions << [input: call.state.id, by: by, status: status]
        promptPerson(call)
    }

    /** Whether the form has only parameters of the prompt, and choices of their lists. */
    private static boolean isValidForm(Call call, Map values) {
        List<Describable> parameters = call['parameters'] as List ?: []
        values.every { name, value ->
            Describable parameter = parameters.find { it['name'] == name }
            parameter != null && (parameter.symbol != 'choice' || (value as String) in JobProperties.choices(parameter))
        }
    }

    /** Whether a user may submit: administrators always may; who started the build has no special permission. */
    private static boolean maySubmit(Run run, String submitter, String by) {
        List<String> named = (submitter ?: '').split(',')*.trim()*.toLowerCase().findAll()
        Map<String, List> groups = run.scenario.groups as Map
        List<String> own = [by, 'authenticated'] + groups.findAll { by in it.value }.keySet()
        named.empty || by in (run.scenario.administrators as List) || own.any { it?.toLowerCase() in named }
    }

    /** The return value of `input`: null, a single value, or a map; defaults do not replace missing fields. */
    private static Object submittedValue(Call call, Map values, String by) {
        Map<String, Object> answer = new HashMap<>()
        (call['parameters'] as List ?: []).each { Describable parameter ->
            String name = parameter['name']
            if (values.containsKey(name)) {
                answer[name] = JobProperties.convert(parameter, parameter.symbol == 'booleanParam' ? values[name] : values[name] as String)
            }
        }
        if (call['submitterParameter']) { answer[call.text('submitterParameter')] = by }
        answer.size() == 0 ? null : answer.size() == 1 ? answer.values().first() : answer
    }
}
