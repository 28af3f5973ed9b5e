/** Asks a person, outside any node and lock, and has the answer signed; see mlApprove.txt. */
Map call(Map given = [:]) {
    Map arguments = mlLibrary.checked('mlApprove', given).arguments
    return mlOutcome.named('approve', arguments) { answered(arguments) }
}

private Map answered(Map arguments) {
    String why = hindrance(arguments)
    if (why) {
        echo "mlApprove: nobody is asked: ${why}"
        return mlRun.note('approve', [project: arguments.project], why)
    }
    if (env.WORKSPACE) {
        error('mlApprove: called on an agent, it would hold an executor while it waits; call it outside node and agent')
    }
    Map gate = mlRun.result('gate', arguments)
    if (arguments.automatic) {
        Map answer = decide(arguments, [expect_version: gate.version])
        if (!answer.waits) {
            return signed(arguments, answer)
        }
        echo "mlApprove: the policy asks for a person: ${answer.summary}"
    }
    Map answer = ask(gate, arguments)
    return signed(arguments, decide(arguments, [by: answer.by, reason: answer.reason, expect_version: gate.version]))
}

/** Whether there is something to approve: the gate of this build passed. */
boolean due(Map arguments = [:]) {
    return !mlBuild.leavesOut('mlApprove', arguments) && hindrance(arguments) == null
}

private String hindrance(Map arguments) {
    Map gate = mlRun.result('gate', arguments)
    String repeated = mlBuild.repeated()
    if (repeated) {
        return "this build was ${repeated}, and such a build never promotes"
    }
    if (mlLibrary.dry(arguments)) {
        return 'dry run'
    }
    if (gate == null || gate.skipped) {
        return 'the gate has not decided in this build'
    }
    if (!gate.passed) {
        return 'the gate said no'
    }
    return gate.nothing ? gate.summary : null
}

/** Runs the command, which asks what production serves: a docker target needs the engine for that. */
private Map decide(Map arguments, Map values) {
    return mlStage.run('approve', arguments, values, true)
}

private Map signed(Map arguments, Map answer) {
    mlStage.report('mlApprove', answer)
    if (!answer.passed) {
        mlOutcome.fail(arguments, "approve: ${answer.summary}", 'approve')
    }
    mlOutcome.describe(arguments, 'model', answer.summary)
    return answer
}

/** Prompts until somebody gives a reason, three times at most. */
private Map ask(Map gate, Map arguments) {
    int hours = arguments.hours ?: 72
    String text = question(gate)
    String where = mlLibrary.link(gate)
    // The page of a prompt shows one heading, without line breaks and links: the rest stands here, where addresses are links.
    echo "mlApprove: ${text} ${gate.open ? "Checks that are not passed: ${gate.open}, listed under mlGate above." : 'All checks are passed.'}${where ? " Report: ${where}" : ''}"
    mlOutcome.describe(arguments, 'model', "version ${gate.version} waits for an approval: ${comparison(gate)}")
    Map answer = [:]
    try {
        timeout(time: hours, unit: 'HOURS') {
            for (int asked = 0; asked < 3 && !answer.reason; asked++) {
                answer = understood(input(prompt(text, gate, arguments)))
                if (!answer.reason) {
                    echo "mlApprove: ${answer.by ?: 'somebody'} answered without ${answer.by ? 'a reason' : 'a name'}; asking again"
                }
            }
        }
    } catch (Exception stopped) {
        Map end = mlOutcome.ending(stopped)
        if (end == null) {
            throw stopped
        }
        String line = notPromoted(end, gate, arguments)
        echo "mlApprove: ${line}"
        mlOutcome.describe(arguments, 'failure', line, 'approve')
        throw stopped
    }
    if (!answer.reason) {
        error('mlApprove: three answers without a name and a reason; nothing was approved')
    }
    return answer
}

private Map prompt(String text, Map gate, Map arguments) {
    String project = mlLibrary.project(arguments).replaceAll('[^A-Za-z0-9_.-]', '.')
    Map values = [
        id: mlRun.several() ? "Promote-${project}".toString() : 'Promote',
        message: text, ok: "Promote version ${gate.version}".toString(), submitterParameter: 'APPROVER',
        parameters: [string(name: 'REASON', defaultValue: '', description: 'Why this version goes to production (required; it is signed)')],
    ]
    if (arguments.submitters) {
        values.submitter = arguments.submitters.join(',')
    }
    return values
}

/** What became of the version at a prompt that was ended otherwise than by an answer. */
private String notPromoted(Map end, Map gate, Map arguments) {
    String version = "version ${gate.version}"
    switch (end.how) {
        case 'rejected':
            Map refusal = recordRejection(end, gate, arguments)
            if (refusal.counted) {
                return "${version} not promoted, rejected: ${end.told}"
            }
            if (refusal.counted == false) {
                echo "mlApprove: ${refusal.summary}"
                return "ended by ${end.by}, who may not decide; ${version} is still open"
            }
            return "ended by ${end.by}, but the rejection could not be recorded: ${refusal.summary}; ${version} is still open"
        case 'timed out': return "${version} not promoted, timed out: nobody answered within ${arguments.hours ?: 72} hours; it is still open"
        case 'superseded': return "${version} not promoted, superseded: ${end.told}"
        default: return "${version} not promoted, aborted: ${end.told}; it is still open"
    }
}

/** Leaves the refusal with the version, where the approval would be; the build ends as it would have. */
private Map recordRejection(Map end, Map gate, Map arguments) {
    Map values = [by: end.by, reason: "rejected at ${mlBuild.address() ?: mlBuild.id()}".toString(), reject: true, expect_version: gate.version]
    try {
        return decide(arguments, values)
    } catch (Exception fault) {
        return [summary: mlOutcome.reason(fault)]
    }
}

// --- plain functions -------------------------------------------------------------------------------

@NonCPS
private String comparison(Map gate) {
    return gate.summary.replaceAll('\\s+', ' ') - 'may be promoted: '
}

@NonCPS
private String question(Map gate) {
    String summary = comparison(gate)
    String over = gate.against ? " over version ${gate.against}" : ', the first in production'
    return "Promote ${gate.model} version ${gate.version}${over}? ${summary.length() > 140 ? summary.take(140).replaceAll('[ ,]+[^ ]*$', '') + ' …' : summary}".toString()
}

/** Who answered and why, of everything that input may return; what was not sent is null. */
@NonCPS
private Map understood(Object answer) {
    if (answer instanceof Map) {
        String reason = answer.REASON?.toString()?.trim()
        String by = answer.APPROVER?.toString()?.trim()
        return [by: by ?: null, reason: by && reason ? reason : null]
    }
    // A single value is the approver's: Jenkins adds it, so it is there whatever else was left out.
    return [by: answer?.toString()?.trim() ?: null, reason: null]
}
