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

    /** What Jenkins' configuration, the job and the parameters set: no `withEnv`, `environment {}` or `env.X = …` is in it. */
    EnvVars getEnvironment(Object listener) {
        Objects.requireNonNull(listener, 'listener')
        new EnvVars(Controller.current.run(build.fullProjectName, build.number).buildVariables())
    }

    String toString() { "${build.fullProjectName} #${build.number}" }
}
