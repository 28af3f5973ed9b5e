package jenkinsfile

import hudson.AbortException

/** `git`, and `checkout` of a repository that the script names. */
class GitSource {
    /** Extensions that change nothing in what a workspace holds at the end. */
    private static final List<String> HARMLESS = [
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

    /** Of `[$class: 'GitSCM', …]` or `scmGit(…)`. */
    static GitSource of(Call call) {
        Object given = call['scm']
        Map values = given instanceof Describable ? given.arguments : given instanceof Map ? given : [:]
        String type = given instanceof Describable ? given.symbol : values['$class']
        if (!(type in ['GitSCM', 'hudson.plugins.git.GitSCM', 'scmGit'])) {
            Steps.refuseGap(call.run, "checkout of ${type ?: given} is not in this harness, which knows scm, GitSCM and scmGit; " +
                "give its answer with steps={'checkout': ...}, or --step checkout")
        }
        Map remote = (values.userRemoteConfigs as List ?: [[:]])[0] as Map
        GitSource source = null
        String local = null
        String folder = null
        (values.extensions as List ?: []).each { extension ->
            Map about = extension instanceof Describable ? [name: extension.symbol] + extension.arguments : [name: extension['$class']] + (extension as Map)
            String name = (about.name as String).tokenize('.').last()
            if (name in ['LocalBranch', 'localBranch']) {
                local = about.localBranch
            } else if (name == 'RelativeTargetDirectory') {
                folder = about.relativeTargetDir
            } else if (!(name in HARMLESS)) {
                Steps.refuseGap(call.run, "the extension '${name}' of GitSCM is not in this harness, which knows ${(HARMLESS + ['LocalBranch', 'RelativeTargetDirectory']).sort()}")
            }
        }
        String branch = (values.branches as List ?: [[name: '*/master']])[0]['name']
        source = new GitSource(call, remote.url as String, branch.replaceAll('^(refs/heads/|refs/remotes/origin/|origin/|[*][*]?/)', ''), local, remote.credentialsId as String)
        source.folder = folder
        source
    }

    /** Bring the files and give what Jenkins gives about them. */
    Map<String, String> into(File workspace) {
        File target = folder ? new File(workspace, folder) : workspace
        Map scenario = call.run.scenario
        Map source = (scenario.repositories as Map)?.get(url) as Map
        boolean ofScript = scenario.scm && url == scenario.scmUrl
        call.log('The recommended git tool is: NONE')
        credentials()
        target.mkdirs()
        if (source == null && ofScript) { return new TreeMap<>(Checkout.own(call, target)) }
        if (source?.files != null) { return checkoutVariables(written(source.files as Map, target)) }
        if (source == null && scenario.mode != 'live') {
            Steps.refuseGap(call.run, "the repository ${url} is not in this scenario: repositories={'${url}': FOLDER or {PATH: TEXT}}")
        }
        checkoutVariables(cloned(source?.folder as String ?: url, target))
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

    private static String written(Map files, File target) {
        Checkout.write(files, target)
        '0' * 40
    }

    private String cloned(String remote, File target) {
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
