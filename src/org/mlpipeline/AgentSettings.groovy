package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS

/** Where an agent runs: what was chosen of image, dockerfile, node and kubernetes. */
class AgentSettings implements Serializable {
    private final Object steps

    AgentSettings(Object steps) {
        this.steps = steps
    }

    /** The place as a map: `kind`, `image`, `label` and `name`, or `problem`. */
    Map place(Map settings) {
        return choice(settings, [image: steps.env.ML_AGENT_IMAGE, label: steps.env.ML_AGENT_LABEL, home: steps.env.ML_HOME])
    }

    @NonCPS
    private Map choice(Map settings, Map defaults) {
        List chosen = ['image', 'dockerfile', 'node', 'kubernetes'].findAll { settings[it] != null }
        if (chosen.size() > 1) {
            return [problem: "${chosen.join(' and ')} exclude each other".toString()]
        }
        for (String name in ['home', 'cache', 'ca']) {
            String path = settings[name] ?: defaults[name]
            if (path && !(path ==~ '/[A-Za-z0-9_@%+=,./-]*')) {
                return [problem: "'${name}' is '${path}'; expected an absolute path without spaces".toString()]
            }
        }
        String kind = chosen ? chosen[0] : defaults.image ? 'image' : 'node'
        if (kind == 'kubernetes' && !settings.kubernetes.image) {
            return [problem: "kubernetes lacks 'image'"]
        }
        String image = kind == 'image' ? settings.image ?: defaults.image : kind == 'kubernetes' ? settings.kubernetes.image.toString() : null
        String label = settings.node ?: settings.label ?: defaults.label ?: ''
        String name = [image: image, dockerfile: settings.dockerfile, node: "node ${label}".trim().toString(), kubernetes: image][kind]
        return [kind: kind, image: image, label: label, name: name]
    }
}
