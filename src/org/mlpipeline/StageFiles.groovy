package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS

/** The names of one stage's files, relative to the project's folder. */
class StageFiles implements Serializable {
    /** The name of the report: the stage and its environment. */
    final String name
    /** The project's folder in the workspace. */
    final String project
    final String arguments
    /** One line, where the command could not write a report. */
    final String errorLine
    final String report
    final String junit
    final String pages
    final String page
    private final String stashPrefix

    StageFiles(String stage, String environment, String project) {
        name = environment ? "${stage}-${environment}" : stage
        this.project = project
        arguments = "build/ml/args/${stage}.json"
        errorLine = "build/ml/args/${stage}.error"
        report = "build/ml/reports/${name}.json"
        junit = "build/ml/junit/${name}.xml"
        pages = 'build/ml/pages'
        page = "${pages}/${name}.html"
        stashPrefix = project == '.' ? 'ml-' : "ml-${new Digest().of(project).take(8)}-"
    }

    /** A file's name relative to the workspace, where Jenkins archives from. */
    @NonCPS
    String inWorkspace(String file) {
        return project == '.' ? file : "${project}/${file}".toString()
    }

    /** The stash of a report name: the files that later stages on other agents read. */
    @NonCPS
    String stash(String reportName) {
        return stashPrefix + reportName
    }
}
