package org.mlpipeline

/** Allocates a node with the checked-out sources, without setting anything up on it. */
class AgentNode implements Serializable {
    private final Object steps

    AgentNode(Object steps) {
        this.steps = steps
    }

    Object run(String label, Map stepArguments, Closure body) {
        boolean allocated = false
        try {
            return steps.node(label) {
                allocated = true
                steps.checkout(steps.scm)
                body()
            }
        } catch (Throwable fault) {
            if (!allocated) {
                String message = "no agent${label ? " with the label '${label}'" : ''} was available: ${new BuildFailure(fault).reason()}"
                new BuildDescription(steps).add(stepArguments, 'end', message)
            }
            throw fault
        }
    }
}
