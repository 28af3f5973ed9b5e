package hudson.triggers

import hudson.model.Cause

/** Contains the cause of a build that a timer started. */
class TimerTrigger {
    static class TimerTriggerCause extends Cause { }
}
