package jenkinsfile

/** Copies artifacts, and stashes if `preserveStashes` is set, from the original build to one that is restarted at a stage. */
class StageRestart {
    static void restoreFiles(Run run) {
        Run origin = run.origin
        if (origin.archived) {
            run.log("Copying ${origin.archived.size()} artifact(s) from ${origin.displayName}")
            FileSteps.copy(new File(origin.folder, 'archive'), new File(run.folder, 'archive'), origin.archived*.path as List<String>)
            origin.archived.each { run.archived << [path: it.path, file: new File(run.folder, "archive/${it.path}").path] }
        }
        if (run.job.preserveStashes) {
            File stashes = new File(origin.folder, 'stashes')
            FileSteps.copy(stashes, new File(run.folder, 'stashes'), Text.files(stashes, '**', null, false))
        }
    }
}
