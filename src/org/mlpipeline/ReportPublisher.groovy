package org.mlpipeline

/** Shows in Jenkins what a stage reported: test results, archived report, HTML page, log line and commit check. */
class ReportPublisher implements Serializable {
    private final Object steps
    private final OptionalSteps optional

    ReportPublisher(Object steps) {
        this.steps = steps
        optional = new OptionalSteps(steps)
    }

    /** Publishes the files of a stage and returns the name of its page, null without one. */
    String publish(StageFiles files) {
        optional.tolerate('publishing the test results') {
            steps.junit(testResults: files.inWorkspace(files.junit), allowEmptyResults: true, skipMarkingBuildUnstable: true)
        }
        optional.tolerate('archiving the report') {
            steps.archiveArtifacts(artifacts: "${files.inWorkspace(files.report)},${files.inWorkspace(files.pages)}/**", allowEmptyArchive: true)
        }
        String page = files.inWorkspace(files.page)
        if (!steps.fileExists(page)) {
            return null
        }
        String title = "ml-pipeline ${files.project == '.' ? '' : files.project + ' '}${files.name}"
        optional.run('htmlpublisher') {
            // Without allowMissing a folder that is not there makes the build a failure.
            steps.publishHTML(target: [reportName: title, reportDir: files.inWorkspace(files.pages), reportFiles: "${files.name}.html".toString(),
                                       keepAll: true, alwaysLinkToLastBuild: false, allowMissing: true])
        }
        return page
    }

    /** Writes one line about a result to the log. Its summary is there already, where the command printed it. */
    void log(String step, Map result) {
        String url = url(result)
        if (!result.passed) {
            String verdict = result.summary?.startsWith("${result.verdict}: ") ? '' : "${result.verdict}: "
            steps.echo("${step}: ${verdict}${result.summary}${url ? ' ' + url : ''}")
        } else if (url) {
            steps.echo("${step}: report ${url}")
        }
    }

    /** Publishes the verdict as a check of the commit, where the Checks plugin is installed. Only a pass is a success there. */
    void checkCommit(Map result, String project) {
        optional.run('checks-api') {
            steps.publishChecks(name: "ml-pipeline / ${project == '.' ? '' : project + ' / '}${result.stage}", title: result.summary, detailsURL: url(result),
                                conclusion: [pass: 'SUCCESS', skipped: 'SKIPPED'][result.verdict] ?: 'FAILURE',
                                summary: result.openChecks ? result.openChecks.join('\n') : 'All checks are passed.')
        }
    }

    /** The address of a stage's page or report; '' where Jenkins has no root URL. */
    String url(Map result) {
        String build = steps.env.BUILD_URL ? new BuildInfo(steps).url() : ''
        return build && result.report ? "${build}artifact/${result.page ?: result.report}".toString() : ''
    }
}
