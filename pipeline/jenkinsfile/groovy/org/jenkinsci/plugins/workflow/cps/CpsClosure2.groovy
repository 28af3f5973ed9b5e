package org.jenkinsci.plugins.workflow.cps

import com.cloudbees.groovy.cps.Block
import com.cloudbees.groovy.cps.Env
import com.cloudbees.groovy.cps.impl.CpsClosure
import org.codehaus.groovy.runtime.InvokerHelper

/** The closure type of pipeline code; Jenkins' warnings name it. */
class CpsClosure2 extends CpsClosure {
    CpsClosure2(Object owner, Object thisObject, List<String> parameters, Block body, Env capture) {
        super(owner, thisObject, parameters, body, capture)
    }

    /** Groovy would find its own `sleep` before the step. */
    Object sleep(long seconds) { InvokerHelper.invokeMethod(owner, 'sleep', seconds) }
}
