package org.jenkinsci.plugins.workflow.cps

import com.cloudbees.groovy.cps.Block
import com.cloudbees.groovy.cps.Env
import com.cloudbees.groovy.cps.impl.CpsClosure
import org.codehaus.groovy.runtime.InvokerHelper

/** The closure type of pipeline code, which is named in the warnings of Jenkins. */
class CpsClosure2 extends CpsClosure {
    CpsClosure2(Object owner, Object thisObject, List<String> parameters, Block body, Env capture) {
        super(owner, thisObject, parameters, body, capture)
    }

    /** Calls the step; Groovy would call its own `sleep`. */
    Object sleep(long seconds) { InvokerHelper.invokeMethod(owner, 'sleep', seconds) }

    /** Output of `println` and the like is an echo. */
    void println() { InvokerHelper.invokeMethod(owner, 'println', new Object[0]) }

    void println(Object value) { InvokerHelper.invokeMethod(owner, 'println', [value] as Object[]) }

    void print(Object value) { InvokerHelper.invokeMethod(owner, 'print', [value] as Object[]) }

    /** As in Jenkins, only with one value; with several, Groovy's own method is called and the console stays empty. */
    void printf(String format, Object value) { InvokerHelper.invokeMethod(owner, 'printf', [format, value] as Object[]) }
}
