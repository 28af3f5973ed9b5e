package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS
import hudson.util.EditDistance

/** The known name that a misspelt one is closest to. */
class NearestName implements Serializable {
    private final Collection<String> known

    NearestName(Collection<String> known) {
        this.known = known.collect { it.toString() }
    }

    /** A hint for an error message: the closest known name, or all of them where none is close. */
    @NonCPS
    String hint(String name) {
        Map<String, String> byLowerCase = known.collectEntries { [(it.toLowerCase()): it] }
        String lowerCase = name.toLowerCase()
        String nearest = EditDistance.findNearest(lowerCase, byLowerCase.keySet())
        if (nearest != null && EditDistance.editDistance(lowerCase, nearest) <= Math.max(2, name.length().intdiv(3))) {
            return "did you mean '${byLowerCase[nearest]}'?".toString()
        }
        return "known: ${new TreeSet(known).join(', ')}".toString()
    }
}
