package org.mlpipeline

/** The command of a stage: `ml-pipeline STAGE --args FILE`, its exit code and its report. */
class StageCommand implements Serializable {
    private final List<Integer> pauses = [10, 30, 90]
    private final Object steps
    private final Map stage
    private final StageFiles files
    private final String environment
    private final String runId

    StageCommand(Object steps, Map stage, StageFiles files, String environment, String runId) {
        this.steps = steps
        this.stage = stage
        this.files = files
        this.environment = environment
        this.runId = runId
    }

    /** Runs the command, again where the environment failed, and returns the result; fails the build without one. */
    Map run() {
        int attempt = 0
        while (true) {
            steps.writeFile(file: files.report, text: '{}', encoding: 'UTF-8')
            int code = new CredentialBindings(steps).around(stage.credentials) {
                new PackageCommand(steps).runStage(stage.stage, files.arguments)
            }
            String text = steps.readFile(file: files.report, encoding: 'UTF-8')
            Map result = new StageReport(text).result(stage, environment, files, runId, code)
            if (code != 3 || attempt >= pauses.size()) {
                return requireResult(result, code)
            }
            String reason = result?.summary ?: errorLine() ?: 'see above'
            steps.echo("${files.name}: the environment failed, ${reason}; trying again in ${pauses[attempt]} s (${attempt + 1} of ${pauses.size()})")
            steps.sleep(time: pauses[attempt], unit: 'SECONDS')
            attempt++
        }
    }

    private Map requireResult(Map result, int code) {
        String message = result?.summary ?: (code in [2, 3] ? errorLine() : '')
        String project = files.project == '.' ? '' : " (project ${files.project})"
        switch (code) {
            case [0, 1, 4]:
                if (result == null) {
                    fail("it ended with exit code ${code}, but without a report of this run with that verdict; its result is ignored")
                }
                return result
            case 2: fail("usage or configuration: ${message ?: 'the lines above name the key'}${project}"); break
            case 3: fail("the environment failed four times: ${message ?: 'see the lines above'}"); break
            case 5: fail("a fault of ml-pipeline, please report it with the lines above: ${message}"); break
            case 127: fail('there is no command ml-pipeline here; run the step inside mlAgent, or give it agent: […]'); break
            default: fail("ended by the system with exit code ${code}${code == 137 ? ', usually out of memory' : ''}")
        }
    }

    private void fail(String message) {
        new BuildDescription(steps).fail([project: files.project], "${files.name}: ${message}", files.name)
    }

    private String errorLine() {
        return steps.fileExists(files.errorLine) ? steps.readFile(file: files.errorLine, encoding: 'UTF-8').trim() : ''
    }
}
