package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS

/** The step of a stage: runs it where ml-pipeline is available, and fails the build if the stage fails. */
class StageStep implements Serializable {
    private final Object steps
    private final BuildDescription description

    StageStep(Object steps) {
        this.steps = steps
        description = new BuildDescription(steps)
    }

    /** Checks the arguments of a step and runs its stage, by the library's step table or another one. */
    Map run(String step, Map arguments, StepTable table = null) {
        Map accepted = new StepArguments(steps).accept(step, arguments, table)
        return runAccepted(step, accepted.stage, accepted.arguments)
    }

    private Map runAccepted(String step, Map stage, Map arguments) {
        String title = "${stage.stage} ${arguments.environment ?: ''}".trim()
        return description.around(title, arguments) {
            boolean dryRun = new DryRun(steps).isOn(arguments)
            if (stage.home && dryRun) {
                return skip(step, stage, arguments)
            }
            description.addCause(arguments, arguments.cause)
            Map result = runOnAgent(stage, arguments, flags(stage, arguments))
            new ReportPublisher(steps).log(step, result)
            if (stage.commitCheck && !dryRun) {
                new ReportPublisher(steps).checkCommit(result, new ProjectFolder(steps).of(arguments))
            }
            return conclude(stage, arguments, result, title)
        }
    }

    /** Runs a stage on this agent where mlAgent set it up, else on an agent of its own. */
    Map runOnAgent(Map stage, Map arguments, Map flags) {
        if (steps.env.ML_AGENT) {
            return new StageRun(steps).run(stage, arguments, flags)
        }
        Map result = null
        new AgentStep(steps).run((arguments.agent ?: [:]) + [engine: stage.engine], arguments) {
            result = new StageRun(steps).run(stage, arguments, flags)
        }
        return result
    }

    private Map skip(String step, Map stage, Map arguments) {
        BuildState state = new BuildState(steps)
        Map result = state.addSkipped(stage.stage, arguments, 'dry run: nothing outside the build was changed')
        steps.echo("${step}: ${result.summary}")
        String modelSummary = state.result(stage.modelStage, arguments)?.summary
        description.add(arguments, 'model', modelSummary ? "${result.summary}; ${modelSummary}" : result.summary)
        return result
    }

    private Map flags(Map stage, Map arguments) {
        Map flags = named(arguments, stage.keys) + stage.fixed
        Integer version = stage.versionOf ? new BuildState(steps).result(stage.versionOf, arguments)?.version : null
        return version ? flags + [expect_version: version] : flags
    }

    /** What the verdict means for the build. */
    private Map conclude(Map stage, Map arguments, Map result, String title) {
        if (result.verdict == 'error') {
            description.fail(arguments, "${title}: ${result.summary}", title)
        }
        if (stage.concludesItself) {
            return result
        }
        if (stage.decides) {
            return concludeDecision(stage, arguments, result)
        }
        if (!result.passed && !result.waits) {
            description.fail(arguments, "${title}: ${result.summary}", title)
        }
        if (!result.waits) {
            String prefix = new DryRun(steps).isOn(arguments) ? 'dry run: ' : ''
            description.add(arguments, stage.describes, prefix + result.summary)
        }
        return result
    }

    /** A stage that decides about the challenger: if it is refused the champion stays, and `whenKept` says how the build ends. */
    private Map concludeDecision(Map stage, Map arguments, Map result) {
        result.openChecks.each { steps.echo("  ${it}") }
        if (result.passed) {
            description.add(arguments, stage.describes, result.nothingToPromote ? result.summary : "version ${result.version}: ${result.summary}".toString())
            return result
        }
        String message = "champion kept: ${result.summary}"
        if (arguments.whenKept == 'failure') {
            description.fail(arguments, message, stage.stage)
        }
        description.add(arguments, stage.describes, message)
        if (arguments.whenKept == 'unstable') {
            steps.unstable(message)
        } else {
            steps.echo(message)
        }
        return result
    }

    /** The arguments of the step that are flags of its stage, by their keys in the `--args` file. */
    @NonCPS
    private Map named(Map arguments, Map keys) {
        Map flags = [:]
        for (Map.Entry entry in keys.entrySet()) {
            if (arguments[entry.key] != null) {
                flags[entry.value] = arguments[entry.key]
            }
        }
        return flags
    }
}
