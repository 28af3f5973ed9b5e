package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS
import java.util.regex.Pattern

/** The branches and tags that deliver to production. Pull requests and jobs without a branch never do. */
class DeliveryBranches implements Serializable {
    private final Object steps

    DeliveryBranches(Object steps) {
        this.steps = steps
    }

    /** Whether this build delivers, by the patterns `branches` and `tags` of mlPipeline. */
    boolean delivers(Map config) {
        Map revision = new BuildInfo(steps).revision()
        if (revision.change || !revision.branch) {
            return false
        }
        return revision.tag ? matches(revision.tag, config.tags ?: ['v*']) : matches(revision.branch, config.branches ?: ['main', 'master', 'release/*'])
    }

    /** Whether this build may use what outlives it: one that does not deliver gets no home and no engine. */
    boolean isTrusted() {
        Map revision = new BuildInfo(steps).revision()
        if (revision.change) {
            return false
        }
        return steps.env.ML_DELIVERS ? steps.env.ML_DELIVERS == 'true' : !revision.branch || delivers([:])
    }

    @NonCPS
    private boolean matches(String name, List patterns) {
        return patterns.any { String pattern ->
            List parts = pattern.split('\\*', -1).collect { Pattern.quote(it) }
            name ==~ parts.join('.*')
        }
    }
}
