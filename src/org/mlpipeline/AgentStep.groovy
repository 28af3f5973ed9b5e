package org.mlpipeline

/** The step mlAgent: runs its block where ml-pipeline can run. */
class AgentStep implements Serializable {
    private final Object steps

    AgentStep(Object steps) {
        this.steps = steps
    }

    /** `stepArguments` are those of a step that runs here: its project is the one whose description names a failure. */
    Object run(Map arguments, Map stepArguments = [:], Closure body) {
        boolean started = false
        try {
            return allocate(arguments, stepArguments) { started = true; body() }
        } catch (Throwable fault) {
            String reason = new BuildFailure(fault).reason()
            new BuildDescription(steps).add(stepArguments, 'end', started ? reason : "agent: ${reason}")
            throw fault
        }
    }

    private Object allocate(Map arguments, Map stepArguments, Closure body) {
        Map accepted = new StepArguments(steps).accept('mlAgent', arguments)
        Map settings = accepted.arguments
        settings.home = home(settings)
        Map place = new AgentSettings(steps).place(settings)
        if (place.problem) {
            fail(place.problem)
        }
        place.contract = accepted.stage.contract
        if (steps.env.WORKSPACE) {
            if (place.kind == 'kubernetes') {
                fail('kubernetes: takes a pod of its own; call it outside node and agent')
            }
            return onThisNode(place, settings, body)
        }
        if (place.kind == 'kubernetes') {
            return inPod(place, settings, body)
        }
        return new AgentNode(steps).run(place.label, stepArguments) { onThisNode(place, settings, body) }
    }

    /** The folder that outlives builds: that of Jenkins' configuration, else of the arguments. */
    private String home(Map settings) {
        String configured = new ConfiguredVariables(steps).values().ML_HOME
        if (configured && settings.home && settings.home != configured) {
            fail("'home' is '${settings.home}', and Jenkins' configuration sets ML_HOME to '${configured}', which holds for all; leave 'home' out")
        }
        return configured ?: settings.home
    }

    private Object inPod(Map place, Map settings, Closure body) {
        // The agent's own container runs as 1000, and both write to the workspace.
        Map template = [runAsUser: '1000', runAsGroup: '1000'] + settings.kubernetes
        String image = template.remove('image')
        try {
            template.containers = (template.containers ?: []) + [steps.containerTemplate(name: 'ml', image: image, command: 'sleep', args: '99d')]
        } catch (NoSuchMethodError missing) {
            fail('kubernetes: needs the Kubernetes plugin, which is not installed')
        }
        return steps.podTemplate(template) {
            new AgentNode(steps).run(template.label ?: steps.env.POD_LABEL, [:]) {
                steps.container('ml') { withPackage(place, settings, body) }
            }
        }
    }

    private Object onThisNode(Map place, Map settings, Closure body) {
        String path = steps.env.PATH
        if (path && !path.tokenize(':').any { it.endsWith('/bin') }) {
            fail("PATH is '${path.take(100)}', which has no folder of commands; environment {}, withEnv or a parameter replaces it " +
                '(names are compared without case)')
        }
        if (place.kind == 'node') {
            return withPackage(place, settings, body)
        }
        return new AgentContainer(steps).run(place, settings) { withPackage(place, settings, body) }
    }

    private Object withPackage(Map place, Map settings, Closure body) {
        return new AgentEnvironment(steps).run(place, settings, body)
    }

    private void fail(String message) {
        steps.error("mlAgent: ${message}")
    }
}
