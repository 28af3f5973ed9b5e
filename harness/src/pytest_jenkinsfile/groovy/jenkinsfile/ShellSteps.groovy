package jenkinsfile

import com.cloudbees.groovy.cps.Outcome
import hudson.AbortException
import java.nio.file.Files
import java.util.concurrent.TimeUnit

/** `sh`, stubbed by the scenario or run; containers of docker-workflow. */
class ShellSteps {
    static void register() {
        Steps.define(name: 'sh', main: 'script', needsWorkspace: true, start: { Call call -> start(call) },
            event: { Call call, String what ->
                if (what == 'grace') {
                    call.log('After 20s process did not stop')
                    call.fail(call.state.interruption as Throwable)
                } else {
                    finish(call, call.state.status as int, call.state.stdout as String)
                }
            }, stop: ShellSteps.&stop)
        Steps.define(name: 'bat', main: 'script', needsWorkspace: true, start: { Call call ->
            throw new IOException('Batch scripts can only be run on Windows nodes')
        })
        ['powershell', 'pwsh'].each { name ->
            Steps.define(name: name, main: 'script', needsWorkspace: true, start: { Call call -> startShellOfOtherSystem(call) })
        }
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

    private static void start(Call call) {
        EnvVars variables = environment(call)
        String container = call.context['container'] ? 'docker' : 'nohup'
        ProcessEnvironment.check(variables, container, call.context['cwd'] as String)
        FileSteps.cwd(call).mkdirs()
        if (container == 'nohup' && !Shell.isOnPath('nohup', variables, call.run.agentVariables)) {
            call.state.hangs = true
        } else if (call.text('script').empty) {
            call.log('Warning: was asked to run an empty script')
            finish(call, 0, '')
        } else {
            live(call) ? Shell.start(call, variables) : answer(call, variables)
        }
    }

    /** Fail as on an agent without PowerShell. */
    private static void startShellOfOtherSystem(Call call) {
        if (Shell.isOnPath(call.name, environment(call), new EnvVars())) {
            Steps.reportUnsupported(call.run, "the step '${call.name}' is not supported by pytest-jenkinsfile, and this machine has the program; " +
                "stub it with steps={'${call.name}': ...}, or --step ${call.name}")
        }
        throw new IOException("Cannot run program \"${call.name}\" (in directory \"${call.context['cwd']}\"): error=2, No such file or directory")
    }

    /** Complete the step when its script has ended, also after an interruption. */
    static void finish(Call call, int status, String stdout) {
        if (call.state.interruption) {
            call.run.controller.dequeue(call.run, call)
            call.fail(call.state.interruption as Throwable)
        } else if (!FileSteps.cwd(call).directory) {
            call.fail(new AbortException("missing workspace ${call.context['cwd']} on ${call.context['node']}"))
        } else if (call.flag('returnStatus')) {
            call.succeed(status)
        } else if (status != 0) {
            if (call.flag('returnStdout')) { stdout?.readLines()?.each { call.log(it) } }
            call.fail(new AbortException("script returned exit code ${status}"))
        } else {
            call.succeed(call.flag('returnStdout') ? stdout : null)
        }
    }

    /** Signal the process; the step ends with it, or after twenty seconds. */
    private static String stop(Call call, Throwable error) {
        if (call.state.interruption) { return 'later' }
        call.log('Sending interrupt signal to process')
        if (!Shell.signal(call)) { return null }
        call.state.interruption = error
        call.run.controller.scheduleEvent(20_000, call, 'grace')
        'later'
    }

    private static void answer(Call call, EnvVars variables) {
        Context context = call.context
        Map reply = [status: 0, stdout: '']
        String script = call.text('script')
        if (!script.startsWith('docker inspect -f . ') && !script.startsWith('docker pull ')) {
            reply = call.run.controller.request.call([
                request: 'sh', job: call.run.job.name, build: call.run.number, script: script,
                label: call['label'], cwd: context['cwd'], workspace: context['workspace'], stage: stageName(call),
                branch: context['branch'], node: context['node'], container: context['container']?.image,
                environment: variables,
            ]) as Map
        }
        if (!script.startsWith('#!')) { script.readLines().findAll { it.trim() }.each { call.log("+ ${it.trim()}") } }
        String stdout = reply.stdout ?: ''
        if (!call.flag('returnStdout')) { stdout.readLines().each { call.log(it) } }
        if (reply.seconds) {
            call.state.status = reply.status
            call.state.stdout = stdout
            call.run.controller.scheduleEvent(Text.millis(reply.seconds, 'SECONDS'), call, 'sh')
        } else {
            finish(call, reply.status as int, stdout)
        }
    }

    /** The environment of the script. */
    static EnvVars environment(Call call) {
        Map container = call.context['container'] as Map
        container == null ? ProcessEnvironment.of(call.run.agentVariables, call.run.variables(call.context)) :
            ProcessEnvironment.inContainer(call.run.agentVariables, container.environment as Map ?: [:], Shell.passedToContainer(call))
    }

    static String stageName(Call call) {
        String id = call.context['stage']
        id == null ? null : call.run.stages.find { it.id == id }?.name
    }

    /** Run the body of the step in a container of this image, with the workspace mounted. */
    static void enter(Call call, String image, String arguments) {
        String workspace = call.context['workspace']
        Map<String, String> variables = call.run.variables(call.context)
        EnvVars passed = Shell.passedToContainer(call)
        List<String> start = ['docker', 'run', '-t', '-d', '-u', Shell.user(workspace)] + words(arguments) +
            ['-w', workspace, '-v', "${workspace}:${workspace}:rw,z" as String, '-v', "${workspace}@tmp:${workspace}@tmp:rw,z" as String]
        List<String> masked = start + passed.collectMany { ['-e', '********'] } + [image, 'cat']
        String id = 'c0ffee'
        call.log('Jenkins does not seem to be running inside a container')
        call.log("\$ ${masked.join(' ')}")
        if (live(call)) {
            new File("${workspace}@tmp").mkdirs()
            id = Shell.run(start + passed.sort().collectMany { name, value -> ['-e', "${name}=${value}" as String] } + [image, 'cat'], new File(workspace), variables).trim()
        }
        call.state.container = id
        call.log("\$ docker top ${id} -eo pid,comm")
        if (live(call)) { checkEntrypoint(call, Shell.run(['docker', 'top', id, '-eo', 'pid,comm'], new File(workspace), variables)) }
        call.run.startBody(call, context: [container: [id: id, image: image, environment: passed]])
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

    /** Split a command line into words, respecting quotes. */
    static List<String> words(String line) {
        (line =~ /(?:[^\s"']|"[^"]*"|'[^']*')+/)*.replaceAll(/["']/, '')
    }
}

/** Processes of `sh` in live mode. */
class Shell {
    private static final int MAX_POLLS = 40
    private static final long POLL_MILLIS = 20

    /** Run a command of the harness and return its output. */
    static String run(List<String> command, File folder, Map<String, String> environment = null) {
        List<String> arguments = [findProgram(command[0], environment ?: System.getenv())] + command.tail()
        ProcessBuilder builder = new ProcessBuilder(arguments).directory(folder).redirectErrorStream(true)
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

    /** The path of a command in the agent's PATH; Java would search its own. */
    private static String findProgram(String command, Map<String, String> environment) {
        if (command.contains('/')) { return command }
        (environment.PATH ?: '').tokenize(':').collect { new File(it, command) }.find { it.file && it.canExecute() }?.path ?: command
    }

    static String user(String workspace) {
        Map attributes = Files.readAttributes(new File(workspace).toPath(), 'unix:uid,gid')
        "${attributes.uid}:${attributes.gid}"
    }

    /** Run a script with its output in files, which are read as they grow: a background process does not keep the step open. */
    static void start(Call call, EnvVars variables) {
        Run run = call.run
        Controller controller = run.controller
        Context context = call.context
        int id = call.id
        String key = key(call)
        File folder = new File("${context['cwd']}@tmp/durable-${id}-${run.number}")
        folder.mkdirs()
        File script = new File(folder, 'script.sh.copy')
        script.setText(call.text('script'), 'UTF-8')
        script.executable = true
        boolean capture = call.flag('returnStdout')
        File log = new File(folder, 'jenkins-log.txt')
        File output = new File(folder, 'output.txt')
        ProcessBuilder builder = builder(call, script, variables).redirectInput(new File('/dev/null')).redirectOutput(capture ? output : log)
        if (capture) { builder.redirectError(log) } else { builder.redirectErrorStream(true) }
        Process process = builder.start()
        controller.processes[key] = process
        String encoding = call.text('encoding', 'UTF-8')
        Thread.startDaemon {
            LogTail tail = new LogTail(log, encoding, { String line -> controller.reports << { run.log(line, context) } })
            while (!process.waitFor(POLL_MILLIS, TimeUnit.MILLISECONDS)) { tail.read() }
            tail.readToEnd()
            String captured = capture ? new String(output.bytes, encoding) : ''
            int status = process.exitValue()
            controller.reports << {
                controller.processes.remove(key)
                folder.deleteDir()
                Call now = run.program?.call(id)
                if (now != null && now.outcome == null) { ShellSteps.finish(now, status, captured) }
            }
        }
    }

    private static String key(Call call) { "${call.run.job.name}#${call.run.number}/${call.id}" }

    private static String cookie(Call call) { "durable-${call.run.job.name.hashCode()}-${call.run.number}-${call.id}" }

    /** Whether a command is on PATH; assumed for the agent's own PATH. */
    static boolean isOnPath(String command, Map<String, String> variables, Map<String, String> agent) {
        variables.PATH == agent.PATH || findProgram(command, variables) != command
    }

    /** Variables that are set in a container: without PATH and those of the agent. */
    static EnvVars passedToContainer(Call call) {
        EnvVars own = call.run.agentVariables
        new EnvVars(call.run.variables(call.context).findAll { name, value -> !name.equalsIgnoreCase('PATH') && own[name] != value })
    }

    private static ProcessBuilder builder(Call call, File script, EnvVars variables) {
        Context context = call.context
        List<String> command = call.text('script').startsWith('#!') ? [script.path] : ['sh', '-xe', script.path]
        Map container = context['container'] as Map
        EnvVars own = variables
        if (container == null) {
            command = ['sh', '-c', 'JENKINS_SERVER_COOKIE=$1; export JENKINS_SERVER_COOKIE; shift; "$@"; exit $?', 'sh', cookie(call)] + command
        } else {
            EnvVars inner = passedToContainer(call)
            command = ['docker', 'exec', '--workdir', context['cwd'] as String] +
                inner.collectMany { name, value -> ['--env', "${name}=${value}" as String] } + [container.id as String] + command
            own = ProcessEnvironment.of(call.run.agentVariables, call.run.variables(context))
        }
        List<String> arguments = [findProgram(command[0], own)] + command.tail()
        ProcessBuilder builder = new ProcessBuilder(arguments).directory(FileSteps.cwd(call))
        builder.environment().clear()
        builder.environment().putAll(own)
        builder
    }

    /** Send SIGTERM to the processes of a script; false if there is none. */
    static boolean signal(Call call) {
        Process process = call.run.controller.processes[key(call)] as Process
        if (process == null) { return false }
        List<ProcessHandle> all = new ArrayList<>(process.descendants().toList())
        if (call.context['container']) { all << process.toHandle() }
        all.addAll(processesWith("JENKINS_SERVER_COOKIE=${cookie(call)}").collect { ProcessHandle.of(it.name as long).orElse(null) }.findAll())
        all.unique { it.pid() }.each { it.destroy() }
        true
    }

    /** End processes that a `node` block left running, found by the cookie in their environment as in Jenkins. */
    static void killLeftovers(Run run, String cookie) {
        if (run.scenario.mode != 'live') { return }
        String variable = "JENKINS_NODE_COOKIE=${cookie}"
        List<File> left = processesWith(variable)
        for (int wait = 0; wait < MAX_POLLS && left.any { read(it, 'cmdline').contains('/durable-') }; wait++) {
            Thread.sleep(50) // a shell that has just forked does not have the environment of its command yet
            left = processesWith(variable)
        }
        left.each { process -> ProcessHandle.of(process.name as long).ifPresent { it.destroy() } }
    }

    private static List<File> processesWith(String variable) {
        (new File('/proc').listFiles()?.toList() ?: []).findAll { it.name.number && "\0${read(it, 'environ')}".contains("\0${variable}\0") }
    }

    /** The content of a file of a process; empty if it has ended or is another user's. */
    private static String read(File process, String file) {
        try {
            new File(process, file).getText('UTF-8')
        } catch (IOException ignored) {
            ''
        }
    }
}

/** Reads the lines of a growing file. */
class LogTail {
    private final File file
    private final String encoding
    private final Closure line
    private final ByteArrayOutputStream rest = new ByteArrayOutputStream()
    private long position

    LogTail(File file, String encoding, Closure line) {
        this.file = file
        this.encoding = encoding
        this.line = line
    }

    void read() {
        if (file.length() == position) { return }
        file.withInputStream { InputStream stream ->
            stream.skipNBytes(position)
            byte[] more = stream.readAllBytes()
            position += more.length
            int start = 0
            for (int at = 0; at < more.length; at++) {
                if (more[at] == (byte) 10) {
                    rest.write(more, start, at - start)
                    line.call(rest.toString(encoding))
                    rest.reset()
                    start = at + 1
                }
            }
            rest.write(more, start, more.length - start)
        }
    }

    void readToEnd() {
        read()
        if (rest.size() > 0) { line.call(rest.toString(encoding)) }
    }
}
