package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS
import groovy.json.JsonOutput
import groovy.json.JsonSlurperClassic
import java.util.zip.GZIPInputStream
import java.util.zip.GZIPOutputStream

/**
 * The state of each project in this build: results by report name, the workspaces that hold the files of each stage, and the
 * lines of the description. It is stored in `env.ML_STATE`, which survives a restart of the controller and is shared by all
 * steps. A build that is restarted at a stage starts with a copy of the older build's `env`: state of another build is ignored.
 */
class BuildState implements Serializable {
    private final int limit = 65536
    private final Object steps

    BuildState(Object steps) {
        this.steps = steps
    }

    /** The result of a stage of this build for the project of these arguments, or null. */
    Map result(String name, Map arguments = [:]) {
        Map state = read()
        return project(state, resolve(state, new ProjectFolder(steps).of(arguments))).results[name]
    }

    /** Stores what later stages need of a result, and its summary where a later message shows it again. */
    void addResult(String projectName, String name, Map result, boolean withSummary = false) {
        Map state = read()
        project(state, projectName).results[name] = reduced(result, withSummary)
        write(state)
    }

    /** Stores and returns the result of a stage that was skipped. */
    Map addSkipped(String stage, Map arguments, String summary) {
        String environment = arguments.environment
        Map result = [stage: stage, environment: environment, verdict: 'skipped', passed: true, skipped: true, waits: false, summary: summary]
        addResult(new ProjectFolder(steps).of(arguments), environment ? "${stage}-${environment}".toString() : stage, result)
        return result
    }

    /**
     * Begins the delivery of a project in this build and returns its number, 0 for the first. Results of an earlier one are
     * forgotten. Returns -1 if a delivery of this project is running.
     */
    int begin(String projectName) {
        Map state = read()
        if (projectName in state.running) {
            return -1
        }
        state.projects[projectName] = [results: [:], workspaces: [:], lines: project(state, projectName).lines]
        state.running << projectName
        state.deliveries++
        write(state)
        return state.deliveries - 1
    }

    void end(String projectName) {
        Map state = read()
        state.running -= projectName
        write(state)
    }

    boolean hasSeveralProjects() {
        return read().projects.size() > 1
    }

    /** Records that something was done in this build; returns false if it was done before. */
    boolean markDone(String what) {
        Map state = read()
        if (what in state.done) {
            return false
        }
        state.done << what
        write(state)
        return true
    }

    boolean isDone(String what) {
        return what in read().done
    }

    /** The state as a map; `write` stores it. */
    Map read() {
        Map state = decoded(steps.env.ML_STATE)
        String build = new BuildInfo(steps).id()
        return state.build == build ? state : [build: build, projects: [:], running: [], done: [], deliveries: 0, workspaces: 0]
    }

    void write(Map state) {
        String text = encoded(state)
        if (text.length() > limit) { // every `sh` gets it in its environment: from 128 KiB on none starts
            int stages = state.projects.values().sum { it.results.size() }
            steps.currentBuild.description = "this build has the results of ${stages} stages, more than it can store; split it into several builds"
            steps.error(steps.currentBuild.description)
        }
        steps.env.ML_STATE = text
    }

    /** The part of the state for a project; added where it is new. */
    @NonCPS
    Map project(Map state, String name) {
        if (!state.projects.containsKey(name)) {
            state.projects[name] = [results: [:], workspaces: [:], lines: [:]]
        }
        return state.projects[name]
    }

    /** The project of a call that names none: the only one there is. */
    @NonCPS
    String resolve(Map state, String name) {
        return name == '.' && !state.projects['.'] && state.projects.size() == 1 ? state.projects.keySet().first() : name
    }

    @NonCPS
    private Map decoded(String text) {
        try {
            return text ? new JsonSlurperClassic().parseText(new GZIPInputStream(new ByteArrayInputStream(text.decodeBase64())).getText('UTF-8')) as Map : [:]
        } catch (IOException | RuntimeException otherContent) { // a parameter of this name, which is refused
            return [:]
        }
    }

    @NonCPS
    private String encoded(Map state) {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream()
        new GZIPOutputStream(bytes).withCloseable { it.write(JsonOutput.toJson(state).getBytes('UTF-8')) }
        return bytes.toByteArray().encodeBase64().toString()
    }

    /** A result without its checks, which are in the report. */
    @NonCPS
    private Map reduced(Map result, boolean withSummary) {
        Map kept = result.subMap(['stage', 'environment', 'verdict', 'passed', 'waits', 'skipped', 'nothingToPromote', 'version', 'championVersion', 'report', 'page'])
        kept.model = result.model?.take(100)
        kept.openChecks = result.openChecks ? result.openChecks.size() : 0
        if (withSummary) {
            kept.summary = result.summary?.take(400)
        }
        return kept
    }
}
