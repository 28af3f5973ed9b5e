package org.mlpipeline

/** Informs people that a delivery waits for them or has finished. */
class DeliveryNotification implements Serializable {
    private final Object steps
    private final Object notify

    /** `notify` as mlPipeline takes it: a closure, or a map with `slack` and `mail`. */
    DeliveryNotification(Object steps, Object notify) {
        this.steps = steps
        this.notify = notify
    }

    /** `event` is 'waiting' or 'finished'. */
    void send(String event, String result) {
        if (!notify) {
            return
        }
        BuildInfo info = new BuildInfo(steps)
        OptionalSteps optional = new OptionalSteps(steps)
        Map news = [event: event, result: result, description: steps.currentBuild.description, job: info.job(), number: info.number() as String, url: info.url()]
        if (notify instanceof Closure) {
            optional.tolerate('notify') { notify(news) }
            return
        }
        String text = "${news.job} #${news.number} ${event == 'waiting' ? 'waits for an approval' : result}: ${news.description ?: ''} ${news.url ?: ''}"
        if (notify.slack) {
            optional.run('slack') { steps.slackSend(channel: notify.slack, message: text) }
        }
        if (notify.mail) {
            optional.tolerate('mail') { steps.mail(to: notify.mail, subject: "${news.job} #${news.number}", body: text) }
        }
    }
}
