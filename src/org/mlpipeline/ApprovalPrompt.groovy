package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS

/** The prompt for an approval: its texts, and the person and reason of the answer. */
class ApprovalPrompt implements Serializable {
    private final Object steps

    ApprovalPrompt(Object steps) {
        this.steps = steps
    }

    /** Prompts until an answer has a reason, three times at most; returns `by` and `reason`. */
    Map ask(Map gate, Map arguments) {
        String question = question(gate) + cause(arguments)
        String url = new ReportPublisher(steps).url(gate)
        // The page of a prompt shows one heading, without line breaks and links: the rest is logged, where addresses are links.
        String checks = gate.openChecks ? "Checks that are not passed: ${gate.openChecks}, listed under mlGate above." : 'All checks are passed.'
        steps.echo("mlApprove: ${question}. ${checks}${url ? " Report: ${url}" : ''}")
        new BuildDescription(steps).add(arguments, 'model', "version ${gate.version} waits for an approval: ${comparison(gate)}")
        Map answer = [:]
        steps.timeout(time: arguments.hours ?: 72, unit: 'HOURS') {
            for (int attempt = 0; attempt < 3 && !answer.reason; attempt++) {
                answer = parsed(steps.input(parameters(question, gate, arguments)))
                if (!answer.reason) {
                    steps.echo("mlApprove: ${answer.by ?: 'a user'} answered without ${answer.by ? 'a reason' : 'a name'}; prompting again")
                }
            }
        }
        if (!answer.reason) {
            steps.error('mlApprove: three answers without a name and a reason; nothing was approved')
        }
        return answer
    }

    private Map parameters(String question, Map gate, Map arguments) {
        String project = new ProjectFolder(steps).of(arguments).replaceAll('[^A-Za-z0-9_.-]', '.')
        Map parameters = [
            id: new BuildState(steps).hasSeveralProjects() ? "Promote-${project}".toString() : 'Promote',
            message: question, ok: "Promote version ${gate.version}".toString(), submitterParameter: 'APPROVER',
            parameters: [steps.string(name: 'REASON', defaultValue: '', description: 'Why this version goes to production (required; it is signed)')],
        ]
        if (arguments.submitters) {
            parameters.submitter = arguments.submitters.join(',')
        }
        return parameters
    }

    @NonCPS
    String comparison(Map gate) {
        return gate.summary.replaceAll('\\s+', ' ') - 'may be promoted: '
    }

    /** Why the model was trained, as the end of the question; '' where nobody said. */
    private String cause(Map arguments) {
        BuildState build = new BuildState(steps)
        Map state = build.read()
        String cause = build.project(state, build.resolve(state, new ProjectFolder(steps).of(arguments))).lines.cause
        return cause ? "; ${shortened(cause)}" : ''
    }

    @NonCPS
    private String shortened(String text) {
        return text.length() > 140 ? text.take(140).replaceAll('[ ,]+[^ ]*$', '') + ' …' : text
    }

    @NonCPS
    private String question(Map gate) {
        String summary = comparison(gate)
        String over = gate.championVersion ? " over version ${gate.championVersion}" : ', the first in production'
        return "Promote ${gate.model} version ${gate.version}${over}? ${shortened(summary)}".toString()
    }

    /** Person and reason, of everything that `input` may return; null for what was not sent. */
    @NonCPS
    Map parsed(Object answer) {
        if (answer instanceof Map) {
            String reason = answer.REASON?.toString()?.trim()
            String by = answer.APPROVER?.toString()?.trim()
            return [by: by ?: null, reason: by && reason ? reason : null]
        }
        // A single value is the approver's: Jenkins adds it, so it is there whatever else was left out.
        return [by: answer?.toString()?.trim() ?: null, reason: null]
    }
}
