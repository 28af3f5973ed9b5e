package jenkinsfile

import hudson.AbortException
import hudson.model.Result
import org.jenkinsci.plugins.workflow.steps.FlowInterruptedException
import org.jenkinsci.plugins.workflow.support.steps.build.DownstreamFailureCause
import org.jenkinsci.plugins.workflow.support.steps.build.RunWrapper

/** `build`: starts another job of the scenario, or this one. */
class BuildSteps {
    static void register() {
        Steps.define(name: 'build', main: 'job', start: { Call call ->
            Run run = call.run
            String name = fullName(run, call.text('job'))
            Map scenario = name == run.job.name ? run.scenario : jobScenario(run, name)
            call.log("Scheduling project: ${name}")
            Map parameters = (call['parameters'] as List ?: []).collectEntries { Describable it -> [it['name'], it['value']] }
            Map cause = [_class: 'org.jenkinsci.plugins.workflow.support.steps.build.BuildUpstreamCause',
                         shortDescription: "Started by upstream project \"${run.job.name}\" build number ${run.number}" as String,
                         upstreamBuild: run.number, upstreamProject: run.job.name]
            Run child = run.controller.build(name, scenario, [cause], parameters)
            if (call.flag('wait', true)) {
                call.state.job = name
                call.state.number = child.number
                call.log("Starting building: ${name} #${child.number}")
                if (child.finished) { complete(call, child) }
            } else {
                call.succeed()
            }
        })
    }

    /** A name is relative to the folder of the building job, unless the scenario has a job of that very name. */
    private static String fullName(Run run, String given) {
        String name = given.replaceAll('^/', '')
        String beside = run.job.name.contains('/') ? run.job.name.substring(0, run.job.name.lastIndexOf('/') + 1) + name : name
        !given.startsWith('/') && beside in run.controller.jobNames() ? beside : name
    }

    private static Map jobScenario(Run run, String name) {
        Map jobs = run.scenario.jobs as Map
        if (!jobs.containsKey(name)) { throw new AbortException("No item named ${name} found") }
        run.scenario + (jobs[name] as Map)
    }

    /** Complete the `build` steps that wait for this build. */
    static void ended(Run child) {
        child.controller.runs().findAll { it.program != null && !it.finished }.each { Run parent ->
            parent.program.threads*.call.findAll { it?.name == 'build' && it.outcome == null && it.state.job == child.job.name && it.state.number == child.number }
                .each { complete(it, child) }
        }
    }

    private static void complete(Call call, Run child) {
        call.log("Build ${child.job.name} ${child.displayName} completed: ${child.result}")
        if (child.result == Result.SUCCESS || !call.flag('propagate', true)) {
            call.succeed(new RunWrapper(child.job.name, child.number))
        } else {
            call.fail(new FlowInterruptedException(child.result, new DownstreamFailureCause(
                shortDescription: "${child.job.name} ${child.displayName} completed with status ${child.result} (propagate: false to ignore)")))
        }
    }
}
