package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS

/** Runs a block in a docker container of this node. */
class AgentContainer implements Serializable {
    private final Object steps

    AgentContainer(Object steps) {
        this.steps = steps
    }

    Object run(Map place, Map settings, Closure body) {
        if (!hasDocker()) {
            steps.error("mlAgent: ${place.kind}: needs the Docker Pipeline plugin, which is not installed")
        }
        boolean trusted = new DeliveryBranches(steps).isTrusted()
        String home = trusted ? settings.home ?: steps.env.ML_HOME : null
        List mounts = [home, trusted || !settings.cache ? settings.cache : "${settings.cache}/checks".toString()].findAll()
        requireFolders(mounts)
        String image = place.kind == 'dockerfile' ? built(settings) : place.image
        // The image must not bring policies of its own to where the node has the administrators'.
        List policies = ['/etc/ml-pipeline/policy.yaml', new ConfiguredVariables(steps).values().ML_POLICY].findAll { it && steps.fileExists(it) }
        String engine = settings.engine && trusted ? steps.env.ML_DEPLOY_OPTIONS : null
        return steps.docker.image(image).inside(options(settings, mounts, home, policies, engine)) { body() }
    }

    private void requireFolders(List mounts) {
        if (!mounts) {
            return
        }
        steps.withEnv(["ML_MOUNTS=${mounts.join(' ')}"]) {
            if (steps.sh(returnStatus: true, label: 'folders to mount', script: 'mkdir -p $ML_MOUNTS')) {
                steps.error("mlAgent: cannot create the folders to mount, ${mounts.join(' and ')}: " +
                    "an administrator creates them on ${steps.env.NODE_NAME}, owned by the agent's user")
            }
        }
    }

    /** Builds the image of the workspace's Dockerfile and returns its name, one for each job and file. */
    private String built(Map settings) {
        String image = "ml-pipeline-agent:${new Digest().of(new BuildInfo(steps).job() + ' ' + settings.dockerfile).take(12)}"
        List index = settings.index ? ["PIP_INDEX_URL=${settings.index}"] : []
        steps.withEnv(["ML_DOCKERFILE=${settings.dockerfile}"] + index) {
            steps.docker.build(image, (index ? '--build-arg PIP_INDEX_URL ' : '') + '-f "$ML_DOCKERFILE" .')
        }
        return image
    }

    private boolean hasDocker() {
        try {
            return steps.docker != null
        } catch (MissingPropertyException missing) {
            return false
        }
    }

    /** The arguments of `docker run`. */
    @NonCPS
    private String options(Map settings, List mounts, String home, List policies, String engine) {
        List words = mounts.collect { "-v ${it}:${it}" } + policies.unique().collect { "-v ${it}:${it}:ro" }
        if (settings.cache && !(settings.cache in mounts)) {
            words << "-v ${settings.cache}:${settings.cache}:ro"
        }
        if (home) {
            words << "-e ML_HOME=${home}"
        }
        if (settings.ca) {
            words << "-v ${settings.ca}:${settings.ca}:ro"
        }
        if (settings.gpus) {
            words << "--gpus ${settings.gpus}"
        }
        return (words + [settings.options, engine].findAll()).join(' ')
    }
}
