package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS
import groovy.json.JsonOutput

/** Runs a stage in the present workspace and returns its result, whatever the verdict is. */
class StageRun implements Serializable {
    private final Object steps

    StageRun(Object steps) {
        this.steps = steps
    }

    /** `stage` is what StepArguments returns of a stage, `flags` the keys of its `--args` file. */
    Map run(Map stage, Map arguments, Map flags) {
        StageFiles files = new StageFiles(stage.stage, arguments.environment, new ProjectFolder(steps).of(arguments))
        requireEarlierStages(stage, files)
        String runId = new BuildInfo(steps).runId()
        Map result = null
        String workspace = null
        String page = null
        try {
            steps.dir(files.project) {
                StageWorkspace folder = new StageWorkspace(steps, files)
                workspace = folder.prepare(stage, runId)
                if (stage.home && !steps.env.ML_HOME) {
                    steps.echo("${files.name}: ML_HOME is not set; registry and keys lie in this workspace and are lost with it")
                }
                steps.writeFile(file: files.arguments, encoding: 'UTF-8', text: content(arguments, flags, runId))
                result = new StageCommand(steps, stage, files, arguments.environment, runId).run()
                folder.keep(stage)
            }
        } finally {
            page = new ReportPublisher(steps).publish(files)
        }
        result.page = page
        record(stage, files, result, workspace)
        return result
    }

    private void record(Map stage, StageFiles files, Map result, String workspace) {
        BuildState build = new BuildState(steps)
        build.addResult(files.project, files.name, result, stage.commitCheck)
        Map state = build.read()
        Map project = build.project(state, files.project)
        project.workspaces[files.name] = [workspace]
        if (result.passed) {
            new BuildDescription(steps).clear(project.lines, files.name)
        }
        build.write(state)
    }

    /** A build that was restarted at a stage lacks the files of the stages before it. */
    private void requireEarlierStages(Map stage, StageFiles files) {
        BuildInfo info = new BuildInfo(steps)
        if (!info.isRestartedAtStage()) {
            return
        }
        BuildState build = new BuildState(steps)
        String missing = firstMissing(stage.needs, build.project(build.read(), files.project).results)
        if (missing) {
            String message = "this build was restarted at a stage, and ${missing} has not run in it; " +
                "restart at the stage that runs ${missing}, or start a new build of ${info.job()}"
            new BuildDescription(steps).fail([project: files.project], "${files.name}: ${message}", files.name)
        }
    }

    @NonCPS
    private String firstMissing(List needs, Map results) {
        return needs.find { !results.containsKey(it) }
    }

    @NonCPS
    private String content(Map arguments, Map flags, String runId) {
        Map values = [run_id: runId, project: '.']
        for (String key in ['environment', 'policy', 'set']) {
            if (arguments[key] != null) {
                values[key] = arguments[key]
            }
        }
        return JsonOutput.toJson(values + flags)
    }
}
