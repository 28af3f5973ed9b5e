package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS

/** The folder build/ml of a project in the present workspace, and the files of stages that ran in other workspaces. */
class StageWorkspace implements Serializable {
    private final String marker = 'build/ml/.workspace'
    private final Object steps
    private final StageFiles files

    StageWorkspace(Object steps, StageFiles files) {
        this.steps = steps
        this.files = files
    }

    /** Empties a build/ml that another build left, fetches the small files of earlier stages, and returns the workspace's number. */
    String prepare(Map stage, String runId) {
        String content = steps.fileExists(marker) ? steps.readFile(file: marker, encoding: 'UTF-8') : ''
        String number = content.startsWith("${runId} ") ? content.tokenize().last() : create(runId)
        BuildState build = new BuildState(steps)
        List missing = missing(build.project(build.read(), files.project).workspaces, stage.reads, number)
        for (int i = 0; i < missing.size(); i++) {
            steps.unstash(files.stash(missing[i]))
            Map state = build.read()
            Map workspaces = build.project(state, files.project).workspaces
            workspaces[missing[i]] = (workspaces[missing[i]] + number).takeRight(20) // a workspace that is forgotten fetches the files again
            build.write(state)
        }
        return number
    }

    /** Stashes the files that later stages read. */
    void keep(Map stage) {
        List parts = [files.report, files.junit]
        for (part in stage.parts) {
            parts << "build/ml/${part}".toString()
        }
        steps.stash(name: files.stash(files.name), includes: parts.join(','), allowEmpty: true)
    }

    private String create(String runId) {
        steps.dir('build/ml') { steps.deleteDir() }
        BuildState build = new BuildState(steps)
        Map state = build.read()
        state.workspaces = state.workspaces + 1
        build.write(state)
        String number = state.workspaces as String
        steps.writeFile(file: marker, text: "${runId} ${number}", encoding: 'UTF-8')
        return number
    }

    /** The report names whose files this workspace lacks and the stage reads; `reads` null means all. */
    @NonCPS
    private List missing(Map workspaces, List reads, String number) {
        return workspaces.findAll { name, numbers ->
            name != files.name && !(number in numbers) && (reads == null || name in reads)
        }.collect { name, numbers -> name }
    }
}
