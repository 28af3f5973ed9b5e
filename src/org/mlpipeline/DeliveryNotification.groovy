package org.mlpipeline

/** Informs people that a delivery waits for them or has finished. */
class DeliveryNotification implements Serializable {
    private final Object steps
    private final Object notify

    DeliveryNotification(Object steps, Object notify) {
        this.steps = steps
        this.notify = notify
    }

    /** `event` is 'waiting' or 'finished'. */
    void send(String event, String result) {
        BuildInfo info = new BuildInfo(steps)
        Map news = [event: event, result: result, description: steps.currentBuild.description, job: info.job(), number: info.number() as String, url: info.url()]
        String text = "${news.job} #${news.number} ${event == 'waiting' ? 'waits for an approval' : result}: ${news.description ?: ''} ${news.url ?: ''}"
        new Notification(steps, notify).send(news, text)
    }
}
