package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS

/** A message about a build to people, by the argument `notify` of a step: a closure, or a map with `slack` and `mail`. */
class Notification implements Serializable {
    private final Object steps
    private final Object notify

    Notification(Object steps, Object notify) {
        this.steps = steps
        this.notify = notify
    }

    /** What is wrong with `notify`, or null. */
    @NonCPS
    String problem(List channels) {
        if (!notify || notify instanceof Closure) {
            return null
        }
        if (!(notify instanceof Map)) {
            return "'notify' is '${notify.toString().take(60)}'; expected a closure, or a map with ${channels.join(', ')}".toString()
        }
        String unknown = notify.keySet().find { !(it.toString() in channels) }
        return unknown == null ? null : "notify: unknown key '${unknown}'; ${new NearestName(channels).hint(unknown)}".toString()
    }

    /** Sends what the closure gets as a map, the others as a text. An error is logged and changes no result. */
    void send(Map news, String text) {
        if (!notify) {
            return
        }
        OptionalSteps optional = new OptionalSteps(steps)
        if (notify instanceof Closure) {
            optional.tolerate('notify') { notify(news) }
            return
        }
        if (notify.slack) {
            optional.run('slack') { steps.slackSend(channel: notify.slack, message: text) }
        }
        if (notify.mail) {
            optional.tolerate('mail') { steps.mail(to: notify.mail, subject: "${news.job} #${news.number}", body: text) }
        }
    }
}
