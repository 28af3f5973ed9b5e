package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS

/** The folder of ml.yaml in the workspace: one model each. */
class ProjectFolder implements Serializable {
    private final Object steps

    ProjectFolder(Object steps) {
        this.steps = steps
    }

    /** The folder that a step's arguments name, else ML_PROJECT; '.' is the workspace itself. */
    String of(Map arguments) {
        String project = arguments.project instanceof CharSequence ? arguments.project : null
        return normalized(project ?: steps.env.ML_PROJECT ?: '.')
    }

    @NonCPS
    private String normalized(String path) {
        List parts = path.tokenize('/').findAll { it != '.' }
        return parts ? parts.join('/') : '.'
    }
}
