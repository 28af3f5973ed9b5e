package org.mlpipeline

/** Whether this build changes nothing outside itself. */
class DryRun implements Serializable {
    private final Object steps

    DryRun(Object steps) {
        this.steps = steps
    }

    boolean isOn(Map arguments) {
        return arguments.dryRun == null ? steps.env.ML_DRY_RUN == 'true' : arguments.dryRun
    }
}
