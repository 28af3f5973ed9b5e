package jenkinsfile

import com.cloudbees.groovy.cps.Outcome
import hudson.AbortException
import java.nio.file.Files

/** `sh`, answered by the scenario or really run; containers of docker-workflow. */
class ShellSteps {
    static void register() {
        Steps.define(name: 'sh', main: 'script', needsWorkspace: true, start: { Call call ->
            live(call) ? Shell.start(call) : answer(call)
        }, event: { Call call, String what -> finish(call, call.state.status as int, call.state.stdout as String) }, stop: Shell.&stop)
        Steps.define(name: 'withDockerContainer', main: 'image', block: true, needsWorkspace: true, start: { Call call -> enter(call, call.text('image'), call.text('args', '')) },
            bodyEnded: { Call call, CpsThread body, Outcome outcome ->
                leave(call)
                FlowSteps.pass(call, outcome)
            })
        ['withDockerRegistry', 'withDockerServer'].each { name ->
            Steps.define(name: name, main: 'url', block: true, start: { Call call -> call.run.startBody(call) })
        }
    }

    static boolean live(Call call) { call.run.scenario.mode == 'live' }

    static void finish(Call call, int status, String stdout) {
        if (call.flag('returnStatus')) {
            call.succeed(status)
        } else if (status != 0) {
            if (call.flag('returnStdout')) { stdout?.readLines()?.each { call.log(it) } }
            call.fail(new AbortException("script returned exit code ${status}"))
        } else {
            call.succeed(call.flag('returnStdout') ? stdout : null)
        }
    }

    private static void answer(Call call) {
        Context context = call.context
        Map reply = [status: 0, stdout: '']
        String script = call.text('script')
        if (!script.startsWith('docker inspect -f . ') && !script.startsWith('docker pull ')) {
            reply = call.run.world.ask.call([
                ask: 'sh', job: call.run.job.name, build: call.run.number, script: script,
                label: call['label'], cwd: context['cwd'], workspace: context['workspace'], stage: stageName(call),
                branch: context['branch'], node: context['node'], container: context['container']?.image,
                environment: call.run.variables(context),
            ]) as Map
        }
        if (!script.startsWith('#!')) { script.readLines().findAll { it.trim() }.each { call.log("+ ${it.trim()}") } }
        String stdout = reply.stdout ?: ''
        if (!call.flag('returnStdout')) { stdout.readLines().each { call.log(it) } }
        if (reply.seconds) {
            call.state.status = reply.status
            call.state.stdout = stdout
            call.run.world.at(Text.millis(reply.seconds, 'SECONDS'), call, 'sh')
        } else {
            finish(call, reply.status as int, stdout)
        }
    }

    static String stageName(Call call) {
        String id = call.context['stage']
        id == null ? null : call.run.stages.find { it.id == id }?.name
    }

    /** Run the body of the step in a container of this image, which has the workspace. */
    static void enter(Call call, String image, String arguments) {
        String workspace = call.context['workspace']
        Map<String, String> variables = call.run.variables(call.context)
        Map<String, String> passed = Shell.passedToContainer(call)
        List<String> start = ['docker', 'run', '-t', '-d', '-u', Shell.user(workspace)] + words(arguments) +
            ['-w', workspace, '-v', "${workspace}:${workspace}:rw,z" as String, '-v', "${workspace}@tmp:${workspace}@tmp:rw,z" as String]
        List<String> shown = start + passed.collectMany { ['-e', '********'] } + [image, 'cat']
        String id = 'c0ffee'
        call.log('Jenkins does not seem to be running inside a container')
        call.log("\$ ${shown.join(' ')}")
        if (live(call)) {
            new File("${workspace}@tmp").mkdirs()
            id = Shell.run(start + passed.sort().collectMany { name, value -> ['-e', "${name}=${value}" as String] } + [image, 'cat'], new File(workspace), variables).trim()
        }
        call.state.container = id
        call.log("\$ docker top ${id} -eo pid,comm")
        if (live(call)) { checkEntrypoint(call, Shell.run(['docker', 'top', id, '-eo', 'pid,comm'], new File(workspace), variables)) }
        call.run.startBody(call, context: [container: [id: id, image: image]])
    }

    private static void checkEntrypoint(Call call, String processes) {
        if (!processes.contains('cat')) {
            call.log('ERROR: The container started but didn\'t run the expected command. Please double check your ENTRYPOINT ' +
                'does execute the command passed as docker run argument, as required by official docker images.')
        }
    }

    static void leave(Call call) {
        String id = call.state.container
        Map<String, String> variables = call.run.variables(call.context)
        for (List<String> command in [['docker', 'stop', '--time=1', id], ['docker', 'rm', '-f', '--volumes', id]]) {
            call.log("\$ ${command.join(' ')}")
            if (live(call)) { Shell.run(command, FileSteps.cwd(call), variables) }
        }
    }

    /** Words of a command line, quotes respected. */
    static List<String> words(String line) {
        (line =~ /(?:[^\s"']|"[^"]*"|'[^']*')+/)*.replaceAll(/["']/, '')
    }
}

/** Processes of `sh` in live mode. */
class Shell {
    private static final int SETTLING = 40

    /** Run a command of the harness itself and return its output. */
    static String run(List<String> command, File folder, Map<String, String> environment = null) {
        List<String> found = [which(command[0], environment ?: System.getenv())] + command.tail()
        ProcessBuilder builder = new ProcessBuilder(found).directory(folder).redirectErrorStream(true)
        if (environment != null) {
            builder.environment().clear()
            builder.environment().putAll(environment)
        }
        Process process
        try {
            process = builder.start()
        } catch (IOException error) {
            throw new AbortException("${command[0]}: ${error.message}")
        }
        process.outputStream.close()
        String output = process.inputStream.getText('UTF-8')
        if (process.waitFor() != 0) { throw new AbortException("${command.take(3).join(' ')} failed: ${output.trim()}") }
        output
    }

    /** Java would look for a command in its own PATH, not in the agent's. */
    private static String which(String command, Map<String, String> environment) {
        if (command.contains('/')) { return command }
        (environment.PATH ?: '').tokenize(':').collect { new File(it, command) }.find { it.file && it.canExecute() }?.path ?: command
    }

    static String user(String workspace) {
        Map attributes = Files.readAttributes(new File(workspace).toPath(), 'unix:uid,gid')
        "${attributes.uid}:${attributes.gid}"
    }

    static void start(Call call) {
        Run run = call.run
        World world = run.world
        Context context = call.context
        int id = call.id
        String key = "${run.job.name}#${run.number}/${id}"
        File script = new File("${context['workspace']}@tmp/durable-${id}-${run.number}/script.sh")
        script.parentFile.mkdirs()
        script.setText(call.text('script'), 'UTF-8')
        script.executable = true
        boolean capture = call.flag('returnStdout')
        Process process = builder(call, script, capture).start()
        process.outputStream.close()
        world.processes[key] = process
        StringBuffer captured = new StringBuffer()
        Thread errors = capture ? Thread.startDaemon { pump(process.errorStream, world) { run.log(it, context) } } : null
        Thread.startDaemon {
            if (capture) {
                captured << read(process.inputStream)
                errors.join()
            } else {
                pump(process.inputStream, world) { run.log(it, context) }
            }
            int status = process.waitFor()
            world.reports << {
                world.processes.remove(key)
                Call now = run.program?.call(id)
                if (now != null && now.outcome == null) { ShellSteps.finish(now, status, captured.toString()) }
            }
        }
    }

    private static void pump(InputStream stream, World world, Closure line) {
        try {
            stream.eachLine('UTF-8') { String text -> world.reports << { line.call(text) } }
        } catch (IOException error) {
            world.reports << { line.call("the output ends here: ${error.message}" as String) }
        }
    }

    private static String read(InputStream stream) {
        StringBuilder text = new StringBuilder()
        Reader reader = new InputStreamReader(stream, 'UTF-8')
        char[] buffer = new char[8192]
        try {
            for (int size = reader.read(buffer); size >= 0; size = reader.read(buffer)) { text.append(buffer, 0, size) }
        } catch (IOException error) {
            text << "the output ends here: ${error.message}"
        }
        text.toString()
    }

    /** What a container sees of the variables: neither PATH and HOME nor what is the agent's own. */
    static Map<String, String> passedToContainer(Call call) {
        Map own = call.run.scenario.agentEnvironment as Map
        call.run.variables(call.context).findAll { name, value -> !(name in ['PATH', 'HOME']) && own[name] != value }
    }

    private static ProcessBuilder builder(Call call, File script, boolean capture) {
        Context context = call.context
        Map<String, String> variables = call.run.variables(context)
        List<String> command = call.text('script').startsWith('#!') ? [script.path] : ['sh', '-xe', script.path]
        Map container = context['container'] as Map
        if (container != null) {
            Map<String, String> inner = passedToContainer(call).sort()
            command = ['docker', 'exec', '--workdir', context['cwd'] as String] +
                inner.collectMany { name, value -> ['--env', "${name}=${value}" as String] } + [container.id as String] + command
        }
        List<String> found = [which(command[0], variables)] + command.tail()
        ProcessBuilder builder = new ProcessBuilder(found).directory(FileSteps.cwd(call)).redirectErrorStream(!capture)
        builder.environment().clear()
        builder.environment().putAll(variables)
        builder
    }

    static void stop(Call call) {
        Process process = call.run.world.processes["${call.run.job.name}#${call.run.number}/${call.id}" as String] as Process
        if (process != null) {
            call.log('Sending interrupt signal to process')
            process.descendants().forEach { it.destroy() }
            process.toHandle().destroy()
        }
    }

    /** Ends what the build left behind, as Jenkins does by the cookie in the environment. */
    static void killLeftovers(Run run) {
        if (run.scenario.mode != 'live') { return }
        List<File> left = marked(run.cookie)
        for (int wait = 0; wait < SETTLING && left.any { read(it, 'cmdline').contains('/durable-') }; wait++) {
            Thread.sleep(50) // a shell that was just forked has not the environment of its command yet
            left = marked(run.cookie)
        }
        left.each { process -> ProcessHandle.of(process.name as long).ifPresent { it.destroy() } }
    }

    private static List<File> marked(String cookie) {
        (new File('/proc').listFiles()?.toList() ?: []).findAll { it.name.number && read(it, 'environ').contains("JENKINS_NODE_COOKIE=${cookie}\0") }
    }

    /** Empty for a process that has ended or is another user's. */
    private static String read(File process, String file) {
        try {
            new File(process, file).getText('UTF-8')
        } catch (IOException ignored) {
            ''
        }
    }
}
