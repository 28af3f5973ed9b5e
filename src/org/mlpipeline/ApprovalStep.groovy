package org.mlpipeline

/** The step mlApprove: prompts for an approval, outside any node and lock, and has the decision signed. */
class ApprovalStep implements Serializable {
    private final String name = 'mlApprove'
    private final Object steps
    private final BuildDescription description

    ApprovalStep(Object steps) {
        this.steps = steps
        description = new BuildDescription(steps)
    }

    Map run(Map arguments) {
        Map accepted = new StepArguments(steps).accept(name, arguments)
        return description.around(accepted.stage.stage, accepted.arguments) { answer(accepted.stage, accepted.arguments) }
    }

    /** Whether there is something to approve: the gate of this build passed. */
    boolean due(Map arguments) {
        Map stage = new StepTable(steps.libraryResource('steps.json')).step(name)
        return !new BuildInfo(steps).skipsPromotion(name, arguments) && reasonNotToAsk(stage, arguments) == null
    }

    private Map answer(Map stage, Map arguments) {
        String reason = reasonNotToAsk(stage, arguments)
        if (reason) {
            steps.echo("${name}: no approval is requested: ${reason}")
            return new BuildState(steps).addSkipped(stage.stage, [project: arguments.project], reason)
        }
        if (steps.env.WORKSPACE) {
            steps.error("${name}: called on an agent, it would hold an executor while it waits; call it outside node and agent")
        }
        Map gate = new BuildState(steps).result(stage.follows, arguments)
        if (arguments.automatic) {
            Map decision = decide(stage, arguments, [expect_version: gate.version])
            if (!decision.waits) {
                return accept(decision, arguments)
            }
            steps.echo("${name}: the policy requires a person's approval: ${decision.summary}")
        }
        Map answer = ask(stage, gate, arguments)
        return accept(decide(stage, arguments, [by: answer.by, reason: answer.reason, expect_version: gate.version]), arguments)
    }

    private String reasonNotToAsk(Map stage, Map arguments) {
        String repetition = new BuildInfo(steps).repetition()
        if (repetition) {
            return "this build was ${repetition}, and such a build never promotes"
        }
        if (new DryRun(steps).isOn(arguments)) {
            return 'dry run'
        }
        Map gate = new BuildState(steps).result(stage.follows, arguments)
        if (gate == null || gate.skipped) {
            return "the ${stage.follows} has not decided in this build"
        }
        if (!gate.passed) {
            return "the ${stage.follows} did not pass"
        }
        return gate.nothingToPromote ? gate.summary : null
    }

    /** Runs the command, which reads what production serves: a docker target needs the engine for that. */
    private Map decide(Map stage, Map arguments, Map flags) {
        return new StageStep(steps).runOnAgent(stage, arguments, flags)
    }

    private Map accept(Map decision, Map arguments) {
        new ReportPublisher(steps).log(name, decision)
        if (!decision.passed) {
            description.fail(arguments, "${decision.stage}: ${decision.summary}", decision.stage)
        }
        description.add(arguments, 'model', decision.summary)
        return decision
    }

    private Map ask(Map stage, Map gate, Map arguments) {
        try {
            return new ApprovalPrompt(steps).ask(gate, arguments)
        } catch (Exception end) {
            Map interruption = new BuildFailure(end).interruption()
            if (interruption == null) {
                throw end
            }
            String message = notPromoted(interruption, stage, gate, arguments)
            steps.echo("${name}: ${message}")
            description.add(arguments, 'failure', message, stage.stage)
            throw end
        }
    }

    /** What the version's state is after a prompt that ended without an approval. */
    private String notPromoted(Map interruption, Map stage, Map gate, Map arguments) {
        String version = "version ${gate.version}"
        switch (interruption.kind) {
            case 'rejected':
                Map rejection = recordRejection(interruption, stage, gate, arguments)
                if (rejection.counted) {
                    return "${version} not promoted, rejected: ${interruption.message}"
                }
                if (rejection.counted == false) {
                    steps.echo("${name}: ${rejection.summary}")
                    return "ended by ${interruption.by}, who may not decide; ${version} is still open"
                }
                return "ended by ${interruption.by}, but the rejection could not be recorded: ${rejection.summary}; ${version} is still open"
            case 'timed out': return "${version} not promoted, timed out: no approval within ${arguments.hours ?: 72} hours; it is still open"
            case 'superseded': return "${version} not promoted, superseded: ${interruption.message}"
            default: return "${version} not promoted, aborted: ${interruption.message}; it is still open"
        }
    }

    /** Records the rejection with the version, where the approval would be; the build ends as it would have. */
    private Map recordRejection(Map interruption, Map stage, Map gate, Map arguments) {
        BuildInfo info = new BuildInfo(steps)
        String reason = "rejected at ${info.url() ?: info.id()}"
        try {
            return decide(stage, arguments, [by: interruption.by, reason: reason, reject: true, expect_version: gate.version])
        } catch (Exception fault) {
            return [summary: new BuildFailure(fault).reason()]
        }
    }
}
