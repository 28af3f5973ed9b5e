package org.jenkinsci.plugins.workflow.job

import com.cloudbees.hudson.plugins.folder.Folder
import hudson.model.ItemGroup
import jenkinsfile.Controller
import jenkinsfile.Run
import org.jenkinsci.plugins.workflow.support.steps.build.RunWrapper

/** The job of a build. Not serialisable, as in Jenkins. */
class WorkflowJob {
    final String fullName

    WorkflowJob(String fullName) { this.fullName = fullName }

    String getName() { fullName.tokenize('/').last() }

    ItemGroup getParent() { new Folder(fullName.contains('/') ? fullName.substring(0, fullName.lastIndexOf('/')) : '') }

    String getAbsoluteUrl() { Run.jobUrl(fullName) }

    WorkflowRun getLastBuild() {
        Run last = Controller.current.jobs[fullName]?.runs?.findAll { it.started != null }?.max { it.number }
        last == null ? null : new WorkflowRun(new RunWrapper(fullName, last.number))
    }

    /** Variables of the job, without parameters, `withEnv` and `environment {}`. */
    Map<String, String> getEnvironment(Object node, Object listener) {
        Objects.requireNonNull(listener, 'listener')
        if (node != null) { throw new IllegalArgumentException('this harness knows the environment of a job without a node only') }
        Run first = Controller.current.jobs[fullName]?.runs?.find()
        if (first == null) { throw new IllegalStateException("this harness knows the environment of a job that has a build; '${fullName}' has none") }
        first.jobVariables()
    }

    String toString() { fullName }
}
