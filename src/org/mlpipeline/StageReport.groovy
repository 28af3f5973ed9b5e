package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS
import groovy.json.JsonSlurperClassic

/** The report that the command of a stage wrote. */
class StageReport implements Serializable {
    private final String text

    StageReport(String text) {
        this.text = text
    }

    /** The result of the stage as a small map, or null unless the report is of this run and agrees with the exit code. */
    @NonCPS
    Map result(Map stage, String environment, StageFiles files, String runId, int code) {
        Map report
        try {
            report = new JsonSlurperClassic().parseText(text) as Map
        } catch (Exception unreadable) {
            return null
        }
        List verdicts = [0: ['pass', 'skipped'], 1: ['fail', 'inconclusive', 'error'], 4: ['inconclusive']][code] ?: ['error']
        if (report.schema != stage.schema || report.stage != stage.stage || report.environment != environment
                || report.run_id != runId || !(report.verdict in verdicts)) {
            return null
        }
        List open = report.checks.findAll { it.verdict != 'pass' }
        Map further = (stage.returns ?: [:]).collectEntries { name, metric -> [(name): report.metrics ? report.metrics[metric] : null] }
        return further + [
            stage: stage.stage, environment: environment, verdict: report.verdict, passed: code == 0, waits: code == 4, skipped: false,
            summary: report.summary, report: files.inWorkspace(files.report), model: report.model?.name, version: report.model?.version,
            counted: report.metrics?.counted, nothingToPromote: report.metrics?.nothing_to_promote == true,
            championVersion: report.metrics?.champion_version, url: report.metrics?.url, secondsLeft: report.metrics?.seconds_left,
            openChecks: open.take(20).collect { "${it.verdict}  ${it.name}${it.required ? '' : ' (advisory)'}${it.why ? ': ' + it.why : ''}".take(300) },
        ]
    }
}
