package jenkinsfile

import hudson.AbortException
import hudson.model.Result
import hudson.tasks.junit.TestResultSummary
import java.nio.charset.Charset
import java.nio.charset.IllegalCharsetNameException
import java.nio.file.FileSystemException
import java.nio.file.Files
import java.nio.file.LinkOption
import java.nio.file.NoSuchFileException
import java.nio.file.StandardCopyOption
import org.xml.sax.SAXParseException
import org.xml.sax.helpers.DefaultHandler

/** Steps on files of the workspace, stashes and artifacts. */
class FileSteps {
    private static final String BASE64 = 'Base64'

    static void register() {
        Steps.define(name: 'writeFile', needsWorkspace: true, start: { Call call -> write(call) })
        Steps.define(name: 'readFile', main: 'file', needsWorkspace: true, start: { Call call -> call.succeed(read(call)) })
        Steps.define(name: 'fileExists', main: 'file', needsWorkspace: true, start: { Call call ->
            if (!call['file']) { call.log('The fileExists step was called with a null or empty string, so the current directory will be checked instead.') }
            call.succeed(file(call, call.text('file', '')).exists())
        })
        Steps.define(name: 'pwd', needsWorkspace: true, start: { Call call ->
            call.succeed(call.flag('tmp') ? "${call.context['cwd']}@tmp" as String : call.context['cwd'])
        })
        Steps.define(name: 'deleteDir', needsWorkspace: true, start: { Call call ->
            cwd(call).deleteDir()
            call.succeed()
        })
        Steps.define(name: 'readTrusted', main: 'path', start: { Call call -> call.succeed(TrustedFiles.read(call.run, call.text('path'))) })
        Steps.define(name: 'stash', main: 'name', needsWorkspace: true, start: { Call call -> stash(call) })
        Steps.define(name: 'unstash', main: 'name', needsWorkspace: true, start: { Call call -> unstash(call) })
        Steps.define(name: 'archiveArtifacts', main: 'artifacts', needsWorkspace: true, start: { Call call -> archive(call) })
        Steps.define(name: 'archive', main: 'includes', needsWorkspace: true, start: { Call call -> archiveDeprecated(call) })
        Steps.define(name: 'fingerprint', main: 'targets', needsWorkspace: true, start: { Call call ->
            call.log('Recording fingerprints')
            call.succeed()
        })
        Steps.define(name: 'junit', main: 'testResults', needsWorkspace: true, start: { Call call -> junit(call) })
        Steps.define(name: 'checkout', main: 'scm', needsWorkspace: true, start: { Call call -> call.succeed(Checkout.into(call)) })
        Steps.define(name: 'git', main: 'url', needsWorkspace: true, start: { Call call ->
            String branch = call.text('branch', 'master')
            call.succeed(new GitSource(call, call.text('url'), branch, branch, call.text('credentialsId')).into(cwd(call)))
        })
    }

    static File cwd(Call call) { new File(call.context['cwd'] as String) }

    static File file(Call call, String path) {
        if (path == null) { throw new JenkinsException(new NullPointerException('Cannot invoke "String.startsWith(String)" because "rel" is null')) }
        File file = new File(path)
        (file.absolute ? file : new File(cwd(call), path)).toPath().normalize().toFile()
    }

    private static void write(Call call) {
        File target = file(call, call.text('file'))
        if (call['text'] == null) { throw new JenkinsException(new NullPointerException()) }
        if (target.directory) { throw new FileSystemException(target.path, null, 'Is a directory') }
        byte[] content = call.text('encoding') == BASE64 ? call.text('text').decodeBase64() : call.text('text').getBytes(charset(call))
        target.parentFile.mkdirs()
        target.bytes = content
        call.succeed()
    }

    /** The text of a file; empty for a folder. On an agent other than the built-in node a missing file is wrapped in an IOException. */
    private static String read(Call call) {
        File source = file(call, call.text('file'))
        if (source.directory) { return '' }
        if (!source.file) {
            NoSuchFileException missing = new NoSuchFileException(source.path)
            throw call.context['node'] == 'built-in' ? missing : new IOException(missing.toString(), missing)
        }
        call.text('encoding') == BASE64 ? source.bytes.encodeBase64().toString() : new String(source.bytes, charset(call))
    }

    private static String charset(Call call) {
        String name = call.text('encoding', 'UTF-8')
        try {
            if (Charset.isSupported(name)) { return name }
        } catch (IllegalCharsetNameException ignored) {
            // the name is malformed
        }
        throw new UnsupportedEncodingException(name)
    }

    static void copy(File from, File to, List<String> paths) {
        paths.each { path ->
            File target = new File(to, path)
            target.parentFile.mkdirs()
            Files.copy(new File(from, path).toPath(), target.toPath(), StandardCopyOption.REPLACE_EXISTING, StandardCopyOption.COPY_ATTRIBUTES, LinkOption.NOFOLLOW_LINKS)
        }
    }

    private static File stashFolder(Call call) { new File(call.run.folder, "stashes/${URLEncoder.encode(call.text('name'), 'UTF-8')}") }

    private static void stash(Call call) {
        List<String> paths = Text.files(cwd(call), call.text('includes'), call.text('excludes'), call.flag('useDefaultExcludes', true))
        File target = stashFolder(call)
        if (target.exists()) { call.log("Warning: overwriting stash ‘${call['name']}’") }
        target.deleteDir()
        target.mkdirs()
        if (!paths && !call.flag('allowEmpty')) { throw new AbortException("No files included in stash ‘${call['name']}’") }
        copy(cwd(call), target, paths)
        call.log("Stashed ${paths.size()} file(s)")
        call.succeed()
    }

    private static void unstash(Call call) {
        File source = stashFolder(call)
        if (!source.directory) { throw new AbortException("No such saved stash ‘${call['name']}’") }
        copy(source, cwd(call), Text.files(source, '**', null, false))
        call.succeed()
    }

    private static void archive(Call call) {
        String pattern = call.text('artifacts')
        if (!pattern) { throw new AbortException('No artifacts are configured for archiving.') }
        call.log('Archiving artifacts')
        if (call.flag('onlyIfSuccessful') && call.run.result?.isWorseThan(Result.UNSTABLE)) {
            call.log('Skipped archiving because build is not successful')
            call.succeed()
            return
        }
        List<String> paths = Text.files(cwd(call), pattern, call.text('excludes'), call.flag('defaultExcludes', true), call.flag('caseSensitive', true))
        if (!paths) {
            String message = "No artifacts found that match the file pattern \"${pattern}\". Configuration error?"
            if (!call.flag('allowEmptyArchive')) { throw new AbortException(message) }
            call.log(message)
        } else {
            storeArtifacts(call, paths)
            if (call.flag('fingerprint')) { call.log('Recording fingerprints') }
        }
        call.succeed()
    }

    private static void archiveDeprecated(Call call) {
        call.log('The archive step is deprecated, please use archiveArtifacts instead.')
        List<String> paths = Text.files(cwd(call), call.text('includes'), call.text('excludes'))
        if (paths) { storeArtifacts(call, paths) } else { call.log("No files found to archive for pattern \"${call.text('includes')}\"; continuing.") }
        call.succeed()
    }

    private static void storeArtifacts(Call call, List<String> paths) {
        copy(cwd(call), new File(call.run.folder, 'archive'), paths)
        paths.each { call.run.archived << [path: it, file: new File(call.run.folder, "archive/${it}").path] }
    }

    private static void junit(Call call) {
        call.log('Recording test results')
        if (call['testResults'] == null) {
            call.log('null')
            throw new JenkinsException(new NullPointerException())
        }
        List<String> paths = Text.files(cwd(call), call.text('testResults'))
        if (!paths) {
            call.log('No test report files were found. Configuration error?')
            if (!call.flag('allowEmptyResults')) { throw new AbortException('No test report files were found. Configuration error?') }
        }
        TestResultSummary summary = new TestResultSummary()
        paths.each { count(call, new File(cwd(call), it), summary) }
        if (summary.totalCount == 0) {
            call.log('None of the test reports contained any result')
            if (!call.flag('allowEmptyResults')) { throw new AbortException('None of the test reports contained any result') }
        }
        if (!call.flag('skipPublishingChecks')) { call.log('[Checks API] No suitable checks publisher found.') }
        if (summary.failCount > 0 && !call.flag('skipMarkingBuildUnstable')) {
            call.run.worsen(Result.UNSTABLE)
            ControlSteps.warn(call, Result.UNSTABLE)
        }
        call.succeed(summary)
    }

    /** A report that cannot be read counts as one failed test. */
    private static void count(Call call, File report, TestResultSummary summary) {
        XmlSlurper parser = new XmlSlurper(false, false)
        parser.errorHandler = new DefaultHandler()
        List tests
        try {
            tests = parser.parse(report).depthFirst().findAll { it.name() == 'testcase' }
        } catch (SAXParseException ignored) {
            summary.totalCount++
            summary.failCount++
            return
        }
        tests.each { test ->
            if (!test.@classname.text() && !test.parent().@name.text()) { // a test without any class
                call.log('null')
                throw new JenkinsException(new NullPointerException())
            }
            List<String> children = test.children().list()*.name()
            summary.totalCount++
            if (children.any { it in ['failure', 'error'] }) {
                summary.failCount++
            } else if ('skipped' in children) {
                summary.skipCount++
            } else {
                summary.passCount++
            }
        }
    }
}

/** Files of the commit that the script comes from. */
class TrustedFiles {
    static String read(Run run, String path) {
        Map source = run.scenario.scm as Map ?: [:]
        String text = (source.files as Map)?.get(path)
        File root = source.folder ? new File(source.folder as String) : null
        File file = root == null ? null : new File(root, path)
        if (file?.file && file.canonicalFile.toPath().startsWith(root.canonicalFile.toPath())) { text = file.getText('UTF-8') }
        if (text == null) { throw new AbortException("${path} not found in the source of the script") }
        text
    }
}

/** `checkout scm`: clones the local repository, copies a folder, or writes the files of the scenario. */
class Checkout {
    static Map<String, String> into(Call call) {
        call['scm'] instanceof Scm ? scriptSource(call, FileSteps.cwd(call)) : GitSource.of(call).into(FileSteps.cwd(call))
    }

    /** Check out the source that the script comes from. */
    static Map<String, String> scriptSource(Call call, File folder) {
        Run run = call.run
        File target = folder
        Map source = run.scenario.scm as Map
        String commit = source.commit ?: '0' * 40
        write(source.files as Map, target)
        if (source.folder) { commit = copy(new File(source.folder as String), target) ?: commit }
        call.log("Checking out Revision ${commit} (${run.scenario.branch ?: 'main'})")
        Map values = [GIT_BRANCH: run.scenario.branch ?: 'main', GIT_COMMIT: commit, GIT_URL: run.scenario.scmUrl]
        String previous = run.job.runs.findAll { it.number < run.number }.max { it.number }?.commit
        if (previous) { values.GIT_PREVIOUS_COMMIT = previous }
        run.commit = commit
        values
    }

    static void write(Map files, File target) {
        files?.each { path, text ->
            File file = new File(target, path as String)
            file.parentFile.mkdirs()
            file.setText(text as String, 'UTF-8')
        }
    }

    /** Clone, with uncommitted changes, so that a pipeline can be tried before it is pushed. */
    private static String copy(File source, File target) {
        if (!new File(source, '.git').exists()) {
            FileSteps.copy(source, target, Text.files(source, '**', null, false))
            return null
        }
        if (!new File(target, '.git').exists()) {
            target.deleteDir()
            Shell.run(['git', 'clone', '--quiet', source.path, target.path], source)
        } else {
            Shell.run(['git', 'fetch', '--quiet', 'origin'], target)
            Shell.run(['git', 'reset', '--quiet', '--hard', Shell.run(['git', 'rev-parse', 'HEAD'], source).trim()], target)
        }
        Shell.run(['git', 'ls-files', '-z', '--modified', '--others', '--exclude-standard'], source).split('\0').findAll().each { path ->
            File from = new File(source, path)
            if (from.file) {
                File to = new File(target, path)
                to.parentFile.mkdirs()
                Files.copy(from.toPath(), to.toPath(), StandardCopyOption.REPLACE_EXISTING, StandardCopyOption.COPY_ATTRIBUTES)
            }
        }
        Shell.run(['git', 'rev-parse', 'HEAD'], source).trim()
    }
}
