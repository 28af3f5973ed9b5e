package hudson.model

import jenkinsfile.Controller
import org.jenkinsci.plugins.workflow.job.WorkflowJob

/** The builds that wait for another build of their job. */
class Queue {
    static Queue getInstance() { new Queue() }

    List<Item> getItems(WorkflowJob job) {
        (Controller.current.jobs[job.fullName]?.waiting ?: []).collect { new Item(it.causes) }
    }

    /** Not serialisable, as in Jenkins. */
    static class Item {
        final List<Cause> causes

        Item(List<Map> causes) { this.causes = causes.collect { Cause.of(it) } }
    }
}
