package hudson.triggers

import hudson.model.Cause

/** Holder of the cause of a build that a timer started. */
class TimerTrigger {
    static class TimerTriggerCause extends Cause { }
}
