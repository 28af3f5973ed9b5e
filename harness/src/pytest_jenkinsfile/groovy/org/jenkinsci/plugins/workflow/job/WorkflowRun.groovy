package org.jenkinsci.plugins.workflow.job

import hudson.model.Cause
import jenkinsfile.EnvVars
import jenkinsfile.Controller
import org.jenkinsci.plugins.workflow.support.steps.build.RunWrapper

/** Not serialisable, as in Jenkins. */
class WorkflowRun {
    private final RunWrapper build

    WorkflowRun(RunWrapper build) { this.build = build }

    List<Cause> getCauses() { build.buildCauses.collect { Cause.of(it as Map) } }

    Object getParent() { new WorkflowJob(build) }

    int getNumber() { build.number }

    /** Variables of Jenkins' configuration, the job and the parameters, without `withEnv`, `environment {}` and `env.X = …`. */
    EnvVars getEnvironment(Object listener) {
        Objects.requireNonNull(listener, 'listener')
        new EnvVars(Controller.current.run(build.fullProjectName, build.number).buildVariables())
    }

    String toString() { "${build.fullProjectName} #${build.number}" }
}
