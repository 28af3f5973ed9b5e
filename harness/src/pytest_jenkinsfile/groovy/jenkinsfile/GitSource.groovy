package jenkinsfile

import hudson.AbortException

/** `git`, and `checkout` of a repository whose address is in the script. */
class GitSource {
    /** Extensions without effect on the files of a workspace. */
    private static final List<String> NO_EFFECT = [
        'AuthorInChangelog', 'ChangelogToBranch', 'CheckoutOption', 'CleanBeforeCheckout', 'CleanCheckout', 'CloneOption', 'GitLFSPull',
        'IgnoreNotifyCommit', 'PruneStaleBranch', 'PruneStaleTag', 'WipeWorkspace', 'authorInChangelog', 'checkoutOption', 'cleanAfterCheckout',
        'cleanBeforeCheckout', 'cloneOption', 'lfs', 'pruneStaleBranch', 'pruneTags',
    ]

    private final Call call
    private final String url
    private final String branch
    private final String local
    private final String credentialsId
    private String folder

    GitSource(Call call, String url, String branch, String local, String credentialsId) {
        this.call = call
        this.url = url
        this.branch = branch
        this.local = local
        this.credentialsId = credentialsId
    }

    /** The source that `[$class: 'GitSCM', …]` or `scmGit(…)` describes. */
    static GitSource of(Call call) {
        Object scm = call['scm']
        Map values = scm instanceof Describable ? scm.arguments : scm instanceof Map ? scm : [:]
        String type = scm instanceof Describable ? scm.symbol : values['$class']
        if (!(type in ['GitSCM', 'hudson.plugins.git.GitSCM', 'scmGit'])) {
            Steps.reportUnsupported(call.run, "checkout of ${type ?: scm} is not supported by pytest-jenkinsfile; supported: scm, GitSCM, scmGit; " +
                "stub it with steps={'checkout': ...}, or --step checkout")
        }
        Map remote = (values.userRemoteConfigs as List ?: [[:]])[0] as Map
        GitSource source = null
        String local = null
        String folder = null
        (values.extensions as List ?: []).each { extension ->
            Map extensionArguments = extension instanceof Describable ? [name: extension.symbol] + extension.arguments : [name: extension['$class']] + (extension as Map)
            String name = (extensionArguments.name as String).tokenize('.').last()
            if (name in ['LocalBranch', 'localBranch']) {
                local = extensionArguments.localBranch
            } else if (name == 'RelativeTargetDirectory') {
                folder = extensionArguments.relativeTargetDir
            } else if (!(name in NO_EFFECT)) {
                List<String> supported = (NO_EFFECT + ['LocalBranch', 'RelativeTargetDirectory']).sort()
                Steps.reportUnsupported(call.run, "the extension '${name}' of GitSCM is not supported by pytest-jenkinsfile; supported: ${supported}")
            }
        }
        String branch = (values.branches as List ?: [[name: '*/master']])[0]['name']
        source = new GitSource(call, remote.url as String, branch.replaceAll('^(refs/heads/|refs/remotes/origin/|origin/|[*][*]?/)', ''), local, remote.credentialsId as String)
        source.folder = folder
        source
    }

    /** Check out the files; return the variables that `checkout` returns. */
    Map<String, String> into(File workspace) {
        File target = folder ? new File(workspace, folder) : workspace
        Map scenario = call.run.scenario
        Map source = (scenario.repositories as Map)?.get(url) as Map
        boolean ofScript = scenario.scm && url == scenario.scmUrl
        call.log('The recommended git tool is: NONE')
        credentials()
        target.mkdirs()
        if (source == null && ofScript) { return new TreeMap<>(Checkout.scriptSource(call, target)) }
        if (source?.files != null) { return checkoutVariables(writeFiles(source.files as Map, target)) }
        if (source == null && scenario.mode != 'live') {
            Steps.reportUnsupported(call.run, "the repository ${url} is not configured in this scenario: repositories={'${url}': FOLDER or {PATH: TEXT}}")
        }
        checkoutVariables(cloneRepository(source?.folder as String ?: url, target))
    }

    private void credentials() {
        if (!credentialsId) {
            call.log('No credentials specified')
        } else if ((call.run.scenario.credentials as Map).containsKey(credentialsId)) {
            call.log("using credential ${credentialsId}")
        } else {
            call.log("Warning: CredentialId \"${credentialsId}\" could not be found.")
        }
    }

    private static String writeFiles(Map files, File target) {
        Checkout.write(files, target)
        '0' * 40
    }

    private String cloneRepository(String remote, File target) {
        boolean known = new File(target, '.git').exists()
        call.log(known ? 'Fetching changes from the remote Git repository' : 'Cloning the remote Git repository')
        try {
            if (!known) { Shell.run(['git', 'init', '--quiet', target.path], target) }
            Shell.run(['git', 'fetch', '--quiet', '--tags', '--force', '--', remote, '+refs/heads/*:refs/remotes/origin/*'], target, environment())
        } catch (AbortException error) {
            call.log("ERROR: Error cloning remote repo 'origin'")
            call.log(error.message)
            call.log('ERROR: Maximum checkout retry attempts reached, aborting')
            throw new AbortException("Error cloning remote repo 'origin'")
        }
        String commit = revision(target, "refs/remotes/origin/${branch}") ?: revision(target, branch)
        if (commit == null) {
            call.log("ERROR: Couldn't find any revision to build. Verify the repository and branch configuration for this job.")
            call.log('ERROR: Maximum checkout retry attempts reached, aborting')
            throw new AbortException('Couldn\'t find any revision to build. Verify the repository and branch configuration for this job.')
        }
        Shell.run(local ? ['git', 'checkout', '--quiet', '--force', '-B', local, commit] : ['git', 'checkout', '--quiet', '--force', commit], target)
        call.log("Checking out Revision ${commit} (refs/remotes/origin/${branch})")
        call.log("Commit message: \"${Shell.run(['git', 'log', '-1', '--format=%s', commit], target).trim()}\"")
        commit
    }

    /** Without a terminal git must not ask for a password. */
    private static Map<String, String> environment() { System.getenv() + [GIT_TERMINAL_PROMPT: '0'] }

    private static String revision(File target, String name) {
        try {
            Shell.run(['git', 'rev-parse', '--verify', '--quiet', '--end-of-options', "${name}^{commit}" as String], target).trim()
        } catch (AbortException ignored) {
            null
        }
    }

    private Map<String, String> checkoutVariables(String commit) {
        Map<String, String> values = new TreeMap<>([GIT_BRANCH: "origin/${branch}" as String, GIT_COMMIT: commit, GIT_URL: url])
        if (local) { values.GIT_LOCAL_BRANCH = local }
        String previous = call.run.job.runs.findAll { it.number < call.run.number }.max { it.number }?.sources?.get(url)
        if (previous) { values.GIT_PREVIOUS_COMMIT = previous }
        call.run.sources[url] = commit
        values
    }
}
