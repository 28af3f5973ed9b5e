package org.mlpipeline

/** The step mlMonitor: looks at an environment, informs people of alarms, and starts a retraining where one is suggested. */
class MonitorStep implements Serializable {
    private final String name = 'mlMonitor'
    private final Object steps

    MonitorStep(Object steps) {
        this.steps = steps
    }

    Map run(Map arguments) {
        Map config = new StepArguments(steps).accept(name, arguments).arguments
        config.environment = config.environment ?: 'production'
        requireNotify(config)
        Map result = null
        try {
            result = look(config)
        } catch (Throwable fault) {
            if (!new BuildFailure(fault).isAbort()) {
                inform(config, [event: 'failed', alarm: null, text: "monitoring failed: ${new BuildFailure(fault).reason()}".toString()], [:], null)
            }
            throw fault
        }
        if (!result.skipped) {
            follow(config, result)
        }
        return result
    }

    private void requireNotify(Map config) {
        String problem = new Notification(steps, config.notify).problem(['slack', 'mail', 'webhook'])
        if (problem) {
            new BuildDescription(steps).fail(config, "${name}: ${problem}")
        }
    }

    /** Runs the stage. Its command posts to the webhook itself, so that the address stays in one variable. */
    private Map look(Map config) {
        String webhook = config.notify instanceof Map ? config.notify.webhook : null
        if (!webhook) {
            return new StageStep(steps).run(name, config)
        }
        if (!webhook.contains('://')) {
            return new StageStep(steps).run(name, config + [credentials: (config.credentials ?: [:]) + [webhook: webhook]])
        }
        Map result = null
        steps.withEnv(["ML_WEBHOOK=${webhook}"]) { result = new StageStep(steps).run(name, config) }
        return result
    }

    private void follow(Map config, Map result) {
        String rollback = result.conclusion == 'roll back' && config.rollbackJob ? new SiblingJobs(steps).url(config.rollbackJob) : null
        for (event in (result.events ?: [])) {
            inform(config, [event: event.event, alarm: event.name, text: event.text, id: event.id, at: event.at], result, rollback)
        }
        List parts = ["${result.conclusion}: ${result.reason}"]
        if (result.conclusion == 'roll back') {
            parts << "nothing was rolled back; a person decides: ${rollback ?: 'mlRollback'}"
        }
        if (result.conclusion == 'retrain' && config.retrainJob) {
            parts << retrain(config, result)
        }
        conclude(config, result, parts.join('; '))
    }

    private String retrain(Map config, Map result) {
        if (!new SiblingJobs(steps).exists(config.retrainJob)) {
            new BuildDescription(steps).fail(config, "${name}: ${result.conclusion}: ${result.reason}; 'retrainJob' is '${config.retrainJob}', " +
                "and there is no such job in the folder of ${new BuildInfo(steps).job()}")
        }
        return new Retraining(steps, config.retrainJob).start(result.cause ?: result.reason, result.coolDownDays)
    }

    /** `whenAlarm` says how a build ends that suggests something. One that cannot conclude is no success either, but no failure. */
    private void conclude(Map config, Map result, String line) {
        if (!result.passed && result.conclusion != 'inconclusive' && config.whenAlarm == 'failure') {
            new BuildDescription(steps).fail(config, line, "monitor ${config.environment}")
        }
        new BuildDescription(steps).add(config, 'other', line)
        if (!result.passed && config.whenAlarm != 'success') {
            steps.unstable("${name}: ${line}")
        } else {
            steps.echo("${name}: ${line}")
        }
    }

    private void inform(Map config, Map event, Map result, String rollback) {
        BuildInfo info = new BuildInfo(steps)
        Map news = event + [environment: config.environment, model: result.model, version: result.version, conclusion: result.conclusion,
                            reason: result.reason, rollback: rollback, job: info.job(), number: info.number() as String, url: info.url()]
        String what = event.alarm ? "alarm ${event.event}: ${event.text}; ${result.conclusion}: ${result.reason}" : event.text
        String link = rollback ? " To roll back: ${rollback}" : ''
        new Notification(steps, config.notify).send(news, "${news.job} #${news.number}, ${config.environment}: ${what}${link} ${news.url}")
    }
}
