package hudson.model

/** Where a controller's own code would log; stands here for calls that take one. */
interface TaskListener {
    TaskListener NULL = new TaskListener() { }
}
