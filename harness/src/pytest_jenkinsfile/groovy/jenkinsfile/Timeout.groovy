package jenkinsfile

import com.cloudbees.groovy.cps.Outcome
import hudson.model.Result
import org.jenkinsci.plugins.workflow.steps.FlowInterruptedException
import org.jenkinsci.plugins.workflow.steps.TimeoutStepExecution

/** `timeout`: limits the duration of a body, or the time without output. */
class Timeout {
    static void start(Call call) {
        long limit = call['time'] == null ? 0 : Text.millis(call['time'], (call['unit'] ?: 'MINUTES') as String)
        Map context = [:]
        call.state.limit = limit
        if (call.flag('activity')) {
            call.log("Timeout set to expire after ${Text.span(limit)} without activity")
            context.activity = call.id
        } else if (limit > 0) {
            call.log("Timeout set to expire in ${Text.span(limit)}")
        } else {
            call.log("Timeout expired ${Text.span(-limit)} ago")
        }
        arm(call, limit)
        if (limit > 0) {
            call.run.startBody(call, context: context)
        } else {
            announce(call)
            call.run.startBody(call, context: context)
            call.run.program.bodies(call).each {
                it.interruption = error()
                it.cancelled = true
            }
        }
    }

    private static void arm(Call call, long limit) {
        call.state.deadline = call.run.controller.clock.now + limit
        if (limit > 0) { call.run.controller.scheduleEvent(limit, call, 'timeout') }
    }

    /** Extend the deadline when the body prints a line. */
    static void activity(Run run, int id) {
        Call call = run.program?.call(id)
        if (call?.outcome == null && call?.state?.deadline != null) { call.state.deadline = run.controller.clock.now + (call.state.limit as long) }
    }

    static void expire(Call call) {
        if (call.state.expired) { return }
        long left = (call.state.deadline as long) - call.run.controller.clock.now
        if (left > 0) {
            call.run.controller.scheduleEvent(left, call, 'timeout')
            return
        }
        announce(call)
        FlowInterruptedException error = error()
        call.run.program.bodies(call).each { call.run.interrupt(it, error) }
    }

    /** Expire the limit of a body that computed past its deadline without a step. */
    static void check(Call call) {
        if (!call.state.expired && call.state.limit > 0 && call.run.controller.clock.now > (call.state.deadline as long)) {
            announce(call)
            call.state.late = true
        }
    }

    static void ended(Call call, Outcome outcome) {
        if (call.state.late && outcome.success) {
            FlowInterruptedException late = error()
            late.actualInterruption = false
            call.fail(late)
            return
        }
        if (call.state.expired && outcome.abnormal instanceof FlowInterruptedException) { outcome.abnormal.actualInterruption = false }
        FlowSteps.pass(call, outcome)
    }

    private static void announce(Call call) {
        call.log('Cancelling nested steps due to timeout')
        call.state.expired = true
    }

    private static FlowInterruptedException error() {
        new FlowInterruptedException(Result.ABORTED, new TimeoutStepExecution.ExceededTimeout(shortDescription: 'Timeout has been exceeded'))
    }
}
