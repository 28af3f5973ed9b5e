package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS

/** The arguments of mlAgent among those of mlPipeline, and which stages share an agent. */
class AgentArguments implements Serializable {
    /** The arguments that choose another machine. */
    private final List<String> machines = ['node', 'kubernetes', 'label']
    /** The arguments of which one decides where the agent runs. */
    private final List<String> places = ['image', 'dockerfile', 'node', 'kubernetes']
    private final List<String> all = places + ['label', 'package', 'lock', 'home', 'cache', 'ca', 'index', 'gpus', 'options']

    @NonCPS
    Map of(Map config) {
        return config.findAll { name, value -> name in all }
    }

    /** An agent's own arguments over those of another agent; a place of its own replaces the other's. */
    @NonCPS
    Map merged(Map base, Map own) {
        List replaced = (own.keySet().any { it in places } ? places : []) + (own.label ? ['node'] : [])
        Map merged = base.findAll { name, value -> !(name in replaced) } + own
        if (base.kubernetes && own.kubernetes instanceof Map) {
            merged.kubernetes = base.kubernetes + own.kubernetes
        }
        return merged
    }

    /** What is wrong with the agents of these stages, which share a machine; or null. */
    @NonCPS
    String problem(List stages, Map config) {
        if (config.kubernetes && stages.any { it.agent }) {
            return 'a stage with an image or agent of its own is not possible with kubernetes'
        }
        Map elsewhere = stages.find { it.ownAgent.keySet().any { name -> name in machines } }
        return elsewhere ? "stages: ${elsewhere.stage}: its agent cannot set ${machines.join(', ')}: the data are on the agent of the stages before it" : null
    }

    /** Stages that follow each other on the same agent, without any an empty group on `agent`; those with an image or options of their own in a container of theirs. */
    @NonCPS
    List groups(List stages, Map agent, boolean engineSeparate) {
        List groups = []
        for (Map stage in stages) {
            Map required = (stage.agent ?: agent) + [engine: engineSeparate && stage.engine]
            if (groups && groups.last().agent == required) {
                groups.last().stages << stage
            } else {
                groups << [agent: required, stages: [stage]]
            }
        }
        return groups ?: [[agent: agent + [engine: false], stages: []]]
    }
}
