package jenkinsfile

import hudson.AbortException
import hudson.model.Result
import hudson.remoting.ProxyException
import hudson.util.Secret
import org.eclipse.angus.mail.util.MailConnectException

/** Steps that log or change the build without waiting. */
class ControlSteps {
    static void register() {
        Steps.define(name: 'echo', main: 'message', sync: true, start: { Call call ->
            call.log(call.text('message', 'null'))
            call.succeed()
        })
        Steps.define(name: 'error', main: 'message', sync: true, start: { Call call -> call.fail(new AbortException((String) call['message'])) })
        Steps.define(name: 'unstable', main: 'message', sync: true, start: { Call call ->
            call.log("WARNING: ${call['message']}")
            call.run.worsen(Result.UNSTABLE)
            warn(call, Result.UNSTABLE)
            call.succeed()
        })
        Steps.define(name: 'isUnix', sync: true, start: { Call call -> call.succeed(true) })
        Steps.define(name: 'getContext', main: 'type', sync: true, start: { Call call -> call.succeed() })
        Steps.define(name: 'libraryResource', main: 'resource', sync: true, start: { Call call ->
            String text = call.run.code.resource(call.text('resource'), call.text('encoding', 'UTF-8'))
            if (text == null) { throw new AbortException("No such library resource ${call['resource']} could be found.") }
            call.succeed(text)
        })
        Steps.define(name: 'library', main: 'identifier', start: { Call call -> library(call) })
        Steps.define(name: 'properties', main: 'properties', sync: true, start: { Call call ->
            JobProperties.set(call.run.job, call['properties'] as List)
            call.succeed()
        })
        Steps.define(name: 'mail', start: { Call call -> mail(call) })
        Steps.define(name: 'sleep', main: 'time', start: { Call call ->
            long wait = Text.millis(call['time'] ?: 0, call.text('unit', 'SECONDS'))
            if (wait <= 0) {
                call.log('No need to sleep any longer')
                call.succeed()
            } else {
                call.log("Sleeping for ${Text.span(wait)}")
                call.run.controller.scheduleEvent(wait, call, 'sleep')
            }
        }, event: { Call call, String what -> call.succeed() })
    }

    private static void library(Call call) {
        String name = call.text('identifier').split('@')[0]
        if (name in call.run.code.loaded) {
            call.log("Only using first definition of library ${name}")
        } else if (call.run.code.library(name) == null) {
            if (!call.run.code.libraries) { call.run.findLibrary(call.text('identifier')) }
            throw new AbortException("No library named ${name} found")
        } else {
            call.log("Loading library ${call['identifier']}")
            call.run.code.load(name)
        }
        call.succeed(new LoadedClasses(''))
    }

    /** Without a mail server the step throws; in a trusted library the exception is wrapped in a `ProxyException`. */
    private static void mail(Call call) {
        if (!call.text('subject')?.trim() || !call.text('body')?.trim()) {
            throw new AbortException("Email not sent. All mandatory properties must be supplied ('subject', 'body').")
        }
        boolean anyone = ['to', 'cc', 'bcc'].any { String kind -> (call.text(kind) ?: '').split(/[\s,;]+/).any { it ==~ /[^@\s]+@[^@\s]+/ } }
        if (!anyone) { throw new AbortException("Email not sent. No recipients of any kind specified ('to', 'cc', 'bcc').") }
        if (!call.run.scenario.mailServer) {
            MailConnectException error = new MailConnectException('Couldn\'t connect to host, port: localhost, 25; timeout 60000')
            throw call.fromLibrary ? new ProxyException(error) : error
        }
        call.succeed()
    }

    /** Record a warning for every stage that encloses the call. */
    static void warn(Call call, Result result) {
        call.context.all('stage').each { String id ->
            Result known = call.run.warnings[id]
            call.run.warnings[id] = known == null ? result : known.combine(result)
        }
    }
}

/** The job properties that `properties` and a Declarative pipeline set for the next builds. */
class JobProperties {
    static void set(Job job, List<Describable> values) {
        Map properties = [parameters: [], declared: JsonValue.of(values)]
        values.each { Describable value ->
            if (value.symbol == 'parameters') {
                properties.parameters = (value['value'] as List).collect { [name: it['name'], value: defaultOf(it as Describable), definition: it] }
            } else if (value.symbol == 'disableConcurrentBuilds') {
                properties.disableConcurrentBuilds = true
                properties.abortPrevious = value['abortPrevious'] as boolean
            } else {
                properties[value.symbol] = JsonValue.of(value.arguments)
            }
        }
        job.properties = properties
    }

    static Object defaultOf(Describable parameter) {
        switch (parameter.symbol) {
            case 'booleanParam': return parameter['defaultValue'] as boolean
            case 'choice': return choices(parameter)[0]
            default: return convert(parameter, parameter['defaultValue'] == null ? '' : parameter['defaultValue'])
        }
    }

    static List<String> choices(Describable parameter) {
        Object choices = parameter['choices']
        choices instanceof CharSequence ? choices.toString().readLines() : choices as List
    }

    /** Convert a submitted value to the type of its parameter. */
    static Object convert(Describable definition, Object value) {
        switch (definition?.symbol) {
            case 'booleanParam': return (value as String).toBoolean()
            case 'password': return new Secret(value as String)
            case 'string': return definition['trim'] ? (value as String).trim() : value as String
            default: return value
        }
    }
}
