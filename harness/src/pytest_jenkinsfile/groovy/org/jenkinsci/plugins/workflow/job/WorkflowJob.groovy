package org.jenkinsci.plugins.workflow.job

import jenkinsfile.Controller
import org.jenkinsci.plugins.workflow.support.steps.build.RunWrapper

/** The job of a build. Not serialisable, as in Jenkins. */
class WorkflowJob {
    private final RunWrapper build

    WorkflowJob(RunWrapper build) { this.build = build }

    String getFullName() { build.fullProjectName }

    String getName() { build.projectName }

    /** Variables of the job, without parameters, `withEnv` and `environment {}`. */
    Map<String, String> getEnvironment(Object node, Object listener) {
        Objects.requireNonNull(listener, 'listener')
        if (node != null) { throw new IllegalArgumentException('this harness knows the environment of a job without a node only') }
        Controller.current.run(build.fullProjectName, build.number).jobVariables()
    }

    String toString() { build.fullProjectName }
}
