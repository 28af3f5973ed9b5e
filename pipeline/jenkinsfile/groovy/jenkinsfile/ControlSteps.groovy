package jenkinsfile

import hudson.AbortException
import hudson.model.Result

/** Steps that say something or change the build, at once. */
class ControlSteps {
    static void register() {
        Steps.define(name: 'echo', main: 'message', sync: true, start: { Call call ->
            call.log(call.text('message', 'null'))
            call.succeed()
        })
        Steps.define(name: 'error', main: 'message', sync: true, start: { Call call -> call.fail(new AbortException(call.text('message', ''))) })
        Steps.define(name: 'unstable', main: 'message', sync: true, start: { Call call ->
            call.log("WARNING: ${call['message']}")
            call.run.worsen(Result.UNSTABLE)
            warn(call, Result.UNSTABLE)
            call.succeed()
        })
        Steps.define(name: 'isUnix', sync: true, start: { Call call -> call.succeed(true) })
        Steps.define(name: 'getContext', main: 'type', sync: true, start: { Call call -> call.succeed() })
        Steps.define(name: 'libraryResource', main: 'resource', sync: true, start: { Call call ->
            String text = call.run.code.resource(call.text('resource'))
            if (text == null) { throw new AbortException("No such library resource ${call['resource']} could be found.") }
            call.succeed(text)
        })
        Steps.define(name: 'library', main: 'identifier', start: { Call call ->
            call.log("Loading library ${call['identifier']}")
            call.run.findLibrary(call.text('identifier'))
            call.run.code.visible = true
            call.succeed()
        })
        Steps.define(name: 'properties', main: 'properties', sync: true, start: { Call call ->
            JobProperties.set(call.run.job, call['properties'] as List)
            call.succeed()
        })
        Steps.define(name: 'mail', start: { Call call -> mail(call) })
        Steps.define(name: 'sleep', main: 'time', start: { Call call ->
            long wait = Text.millis(call['time'], call.text('unit', 'SECONDS'))
            if (wait <= 0) {
                call.log('No need to sleep any longer')
                call.succeed()
            } else {
                call.log("Sleeping for ${Text.span(wait)}")
                call.run.world.at(wait, call, 'sleep')
            }
        }, event: { Call call, String what -> call.succeed() })
    }

    /** Checks what the step would send. Every installation has it: Pipeline brings the Mailer plugin. */
    private static void mail(Call call) {
        if (!call.text('subject')?.trim() || !call.text('body')?.trim()) {
            throw new AbortException("Email not sent. All mandatory properties must be supplied ('subject', 'body').")
        }
        if (!['to', 'cc', 'bcc'].any { call.text(it)?.trim() }) {
            throw new AbortException("Email not sent. No recipients of any kind specified ('to', 'cc', 'bcc').")
        }
        call.succeed()
    }

    /** Mark every stage around the call. */
    static void warn(Call call, Result result) {
        call.context.all('stage').each { String id ->
            Result known = call.run.warnings[id]
            call.run.warnings[id] = known == null ? result : known.combine(result)
        }
    }
}

/** What `properties` and a Declarative pipeline set for the job's next builds. */
class JobProperties {
    static void set(Job job, List<Describable> values) {
        Map properties = [parameters: [], declared: Plain.of(values)]
        values.each { Describable value ->
            if (value.symbol == 'parameters') {
                properties.parameters = (value['value'] as List).collect { [name: it['name'], value: defaultOf(it as Describable)] }
            } else if (value.symbol == 'disableConcurrentBuilds') {
                properties.disableConcurrentBuilds = true
                properties.abortPrevious = value['abortPrevious'] as boolean
            } else {
                properties[value.symbol] = Plain.of(value.arguments)
            }
        }
        job.properties = properties
    }

    static Object defaultOf(Describable parameter) {
        switch (parameter.symbol) {
            case 'booleanParam': return parameter['defaultValue'] as boolean
            case 'choice':
                Object choices = parameter['choices']
                return (choices instanceof CharSequence ? choices.toString().readLines() : choices as List)[0]
            default: return parameter['defaultValue'] == null ? '' : parameter['defaultValue'] as String
        }
    }
}
