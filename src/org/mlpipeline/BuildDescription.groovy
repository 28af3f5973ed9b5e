package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS

/** The description of a build: one line, in which the first failure stays. */
class BuildDescription implements Serializable {
    private final Object steps

    BuildDescription(Object steps) {
        this.steps = steps
    }

    /**
     * Adds a line about the project of these arguments. Its kind is 'failure' of a stage (the first one stays, until its stage
     * passes or fails again), 'end' (why the build ended, where no failure is known), 'production' (what was changed there),
     * 'model' (the newest result of the new model), 'other' (of any other stage, shown where nothing else is), 'cause' (why the model is
     * trained) or 'skipped' (both last).
     */
    void add(Map arguments, String kind, String text, String stage = null) {
        BuildState build = new BuildState(steps)
        Map state = build.read()
        String project = build.resolve(state, new ProjectFolder(steps).of(arguments))
        merge(build.project(state, project).lines, kind, text.take(500), stage?.replace(' ', '-'))
        build.write(state)
        steps.currentBuild.description = combined(state.projects)
    }

    /** Adds why the model is trained. */
    void addCause(Map arguments, String cause) {
        if (cause?.trim()) {
            add(arguments, 'cause', "cause: ${cause.trim()}")
        }
    }

    /** Fails the build with a message that stays in the description. */
    void fail(Map arguments, String message, String stage = null) {
        add(arguments, 'failure', message, stage)
        steps.error(message)
    }

    /** Runs a body; if it fails, the description names it and the reason, unless it names an earlier failure. */
    Object around(String title, Map arguments, Closure body) {
        try {
            return body()
        } catch (Throwable fault) {
            String reason = new BuildFailure(fault).reason()
            add(arguments, 'end', title ? "${title}: ${reason}" : reason, title)
            throw fault
        }
    }

    /** Removes the failure of a stage that has passed since. */
    @NonCPS
    void clear(Map lines, String stage) {
        if (lines.failedStage == stage) {
            lines.remove('failure')
            lines.remove('failedStage')
        }
    }

    @NonCPS
    private void merge(Map lines, String kind, String text, String stage) {
        boolean again = stage != null && stage == lines.failedStage
        boolean first = !lines.failure || (kind == 'failure' && again)
        if (kind != 'failure' && kind != 'end') {
            lines[kind] = text
        } else if (first) {
            lines.remove('production')
            lines.failure = text
            lines.failedStage = stage
        } else if (kind == 'failure' && lines.production) {
            lines.production = text
        }
    }

    /** With several projects each has its part, a failed one first. */
    @NonCPS
    private String combined(Map projects) {
        Map texts = projects.collectEntries { name, project -> [name, line(project.lines ?: [:])] }.findAll { name, text -> text }
        if (texts.size() < 2) {
            return texts ? texts.values().first() : null
        }
        List names = texts.keySet().sort()
        List order = names.findAll { projects[it].lines.failure } + names.findAll { !projects[it].lines.failure }
        return order.collect { "${it == '.' ? 'workspace' : it}: ${texts[it]}" }.join('; ')
    }

    @NonCPS
    private String line(Map lines) {
        List parts = lines.failure ? [lines.failure, lines.production] : [lines.production ?: lines.model ?: lines.other]
        return (parts + lines.cause + lines.skipped).findAll().join('; ') ?: null
    }
}
