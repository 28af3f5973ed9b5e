package hudson.model

/** Where a controller's own code would log; stands here for calls that take one. */
class TaskListener {
    static final TaskListener NULL = new TaskListener()
}
