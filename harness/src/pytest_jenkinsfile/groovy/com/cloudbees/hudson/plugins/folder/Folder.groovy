package com.cloudbees.hudson.plugins.folder

import hudson.model.ItemGroup
import jenkinsfile.Controller
import org.jenkinsci.plugins.workflow.job.WorkflowJob

/** A folder, a multibranch job, or with the name '' the controller. Not serialisable, as in Jenkins. */
class Folder implements ItemGroup {
    final String fullName

    Folder(String fullName) { this.fullName = fullName }

    /** The job or folder of this name; null if the scenario has none. */
    Object getItem(String name) {
        String path = fullName ? "${fullName}/${name}" : name
        Set<String> jobs = Controller.current.jobNames()
        path in jobs ? new WorkflowJob(path) : jobs.any { it.startsWith("${path}/") } ? new Folder(path) : null
    }

    String toString() { fullName }
}
