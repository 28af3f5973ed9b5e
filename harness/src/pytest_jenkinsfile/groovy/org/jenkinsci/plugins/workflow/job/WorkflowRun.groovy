package org.jenkinsci.plugins.workflow.job

import hudson.model.Cause
import jenkinsfile.EnvVars
import jenkinsfile.Controller
import org.jenkinsci.plugins.workflow.support.steps.build.RunWrapper

/** Not serialisable, as in Jenkins. */
class WorkflowRun {
    private final RunWrapper build

    WorkflowRun(RunWrapper build) { this.build = build }

    List<Cause> getCauses() { Controller.current.run(build.fullProjectName, build.number).causes.collect { Cause.of(it as Map) } }

    Object getParent() { new WorkflowJob(build.fullProjectName) }

    int getNumber() { build.number }

    boolean isBuilding() { !Controller.current.run(build.fullProjectName, build.number).finished }

    WorkflowRun getPreviousBuildInProgress() { build.previousBuildInProgress == null ? null : new WorkflowRun(build.previousBuildInProgress) }

    /** Variables of Jenkins' configuration, the job and the parameters, without `withEnv`, `environment {}` and `env.X = …`. */
    EnvVars getEnvironment(Object listener) {
        Objects.requireNonNull(listener, 'listener')
        new EnvVars(Controller.current.run(build.fullProjectName, build.number).buildVariables())
    }

    String toString() { "${build.fullProjectName} #${build.number}" }
}
