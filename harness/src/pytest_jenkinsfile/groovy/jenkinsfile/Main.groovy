package jenkinsfile

import groovy.json.JsonOutput
import groovy.json.JsonSlurperClassic

/** Reads one scenario a line from standard input, asks back over standard output, answers with what happened. */
class Main {
    private static final JsonSlurperClassic PARSER = new JsonSlurperClassic()

    static void main(String[] arguments) {
        PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), true, 'UTF-8')
        System.setOut(new PrintStream(OutputStream.nullOutputStream())) // what a script prints there is in no console of Jenkins
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
        World world = new World(scenario, { Map message ->
            if (message.event && !stream) { return null }
            out.println(JsonOutput.toJson(message))
            message.event ? null : answer(PARSER.parseText(input.readLine()) as Map)
        })
        (scenario.builds as List<Map>).each { Map build ->
            Closure begin = { world.build(scenario.job as String, scenario + build, build.causes as List<Map>, build.parameters as Map) }
            if (build.at == null) {
                begin()
                world.loop()
            } else {
                world.later(Text.millis(build.at, 'SECONDS'), begin)
            }
        }
        world.loop()
        [builds: world.runs().collect { describe(it) }]
    }

    private static Map answer(Map reply) {
        if (reply.abort) { throw new NotInHarness(reply.abort as String) }
        reply
    }

    private static Map describe(Run run) {
        [
            job: run.job.name, number: run.number, result: run.finished ? run.result.name() : null, console: run.console, branches: run.lineBranches,
            stages: run.stages*.subMap(['name', 'id', 'parents', 'status']),
            steps: run.steps*.subMap(['name', 'library', 'arguments', 'stage', 'branch', 'container', 'node', 'error']),
            description: run.description, displayName: run.displayName, mismatches: run.mismatches, refusals: run.refusals,
            gaps: run.describeGaps(), waitsAt: run.finished ? null : run.waitsAt, archived: run.archived, properties: run.job.properties.declared ?: [],
        ]
    }
}
