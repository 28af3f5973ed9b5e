package jenkinsfile

import groovy.json.JsonOutput
import groovy.json.JsonSlurperClassic

/** Reads scenarios from standard input, one a line; writes requests, console lines and the result of each to standard output. */
class Main {
    private static final JsonSlurperClassic PARSER = new JsonSlurperClassic()

    static void main(String[] arguments) {
        PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), true, 'UTF-8')
        System.setOut(new PrintStream(OutputStream.nullOutputStream())) // Jenkins does not show what a script prints there
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in, 'UTF-8'))
        Code.harness = new File(arguments[0])
        GroovySystem.metaClassRegistry.metaClassCreationHandle.disableCustomMetaClassLookup = true
        Thread worker = new Thread(null, { serve(input, out) }, 'pipelines', 512L * 1024 * 1024)
        worker.start()
        worker.join()
    }

    private static void serve(BufferedReader input, PrintStream out) {
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            Map reply
            try {
                reply = [done: run(PARSER.parseText(line) as Map, input, out)]
            } catch (Throwable error) {
                StringWriter trace = new StringWriter()
                error.printStackTrace(new PrintWriter(trace))
                reply = [fault: trace.toString()]
            }
            out.println(JsonOutput.toJson(reply))
        }
    }

    private static Map run(Map scenario, BufferedReader input, PrintStream out) {
        boolean stream = scenario.stream
        Controller controller = new Controller(scenario, { Map message ->
            if (message.event && !stream) { return null }
            out.println(JsonOutput.toJson(message))
            message.event ? null : answer(PARSER.parseText(input.readLine()) as Map)
        })
        (scenario.builds as List<Map>).each { Map build ->
            Closure begin = { controller.build(scenario.job as String, scenario + build, build.causes as List<Map>, build.parameters as Map) }
            if (build.at == null) {
                begin()
                controller.loop()
            } else {
                controller.schedule(Text.millis(build.at, 'SECONDS'), begin)
            }
        }
        controller.loop()
        [builds: controller.runs().collect { describe(it) }]
    }

    private static Map answer(Map reply) {
        if (reply.abort) { throw new UnsupportedError(reply.abort as String) }
        reply
    }

    private static Map describe(Run run) {
        [
            job: run.job.name, number: run.number, result: run.finished ? run.result.name() : null, console: run.console, branches: run.lineBranches,
            stages: run.stages*.subMap(['name', 'id', 'parents', 'status']),
            steps: run.steps*.subMap(['name', 'library', 'arguments', 'stage', 'branch', 'container', 'node', 'error']),
            description: run.description, displayName: run.displayName, cpsMismatches: run.cpsMismatches, refusedSubmissions: run.refusedSubmissions,
            unsupported: run.describeUnsupported(), pendingInput: run.finished ? null : run.pendingInput, archived: run.archived, properties: run.job.properties.declared ?: [],
        ]
    }
}
