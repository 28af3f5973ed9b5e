package org.mlpipeline

/** Steps that are optional: those of plugins that may be missing, and those that only inform. */
class OptionalSteps implements Serializable {
    private final Object steps

    OptionalSteps(Object steps) {
        this.steps = steps
    }

    /** Runs a step of an optional plugin. If the plugin is not installed or fails, the log says so and the build goes on. */
    void run(String plugin, Closure step) {
        wrap(plugin, step) { }
    }

    /** Runs a body inside the block step of an optional plugin, or without it where that is not possible. */
    void wrap(String plugin, Closure block, Closure body) {
        boolean entered = false
        try {
            block { entered = true; body() }
        } catch (Throwable fault) {
            if (entered || new BuildFailure(fault).isAbort()) {
                throw fault
            }
            logSkipped(plugin, fault)
            body()
        }
    }

    /** Runs a step that only informs: an error in it is logged and does not change the build's result. */
    void tolerate(String what, Closure body) {
        try {
            body()
        } catch (Throwable fault) {
            BuildFailure failure = new BuildFailure(fault)
            if (failure.isAbort()) {
                throw fault
            }
            steps.echo("${what} failed: ${failure.reason()}; the result of the build stays as it is")
        }
    }

    private void logSkipped(String plugin, Throwable fault) {
        if (!(fault instanceof NoSuchMethodError)) {
            steps.echo("skipped, the plugin ${plugin} failed: ${new BuildFailure(fault).reason()}; the result of the build stays as it is")
            return
        }
        List missing = steps.env.ML_LEFT_OUT ? steps.env.ML_LEFT_OUT.tokenize() : []
        if (!(plugin in missing)) {
            steps.env.ML_LEFT_OUT = (missing + plugin).join(' ')
            steps.echo("skipped, the plugin ${plugin} is not installed")
        }
    }
}
