package jenkinsfile

/** Names of Jenkins and its plugins that this harness does not support: their use is an error of the test, not a result of the build. */
class Plugins {
    /** Unsupported steps of the plugins that Jenkins suggests. */
    static final List<String> SUGGESTED_PLUGIN_STEPS = [
        'dockerFingerprintFrom', 'dockerFingerprintRun', 'nodesByLabel', 'resolveScm', 'svn', 'unarchive', 'validateDeclarativePipeline',
        'waitForBuild', 'withContext',
    ]
    /** Steps by plugin. */
    private static final Map<String, List<String>> STEPS = [
        'allure-jenkins-plugin': ['allure'],
        'anchore-container-scanner': ['anchore'],
        'android-signing': ['signAndroidApks'],
        'ansible': ['ansibleAdhoc', 'ansiblePlaybook', 'ansibleVault'],
        'ansible-tower': ['ansibleTower', 'ansibleTowerProjectSync'],
        'ansicolor': ['ansiColor'],
        'ant': ['withAnt'],
        'appcenter': ['appCenter'],
        'artifactory': ['rtAddInteractivePromotion', 'rtBuildInfo', 'rtBuildTrigger', 'rtCollectIssues', 'rtDockerPull', 'rtDockerPush', 'rtDownload',
                        'rtGradleDeployer', 'rtGradleResolver', 'rtGradleRun', 'rtMavenDeployer', 'rtMavenResolver', 'rtMavenRun', 'rtNpmInstall',
                        'rtNpmPublish', 'rtPipInstall', 'rtPromote', 'rtPublishBuildInfo', 'rtServer', 'rtSetProps', 'rtUpload', 'xrayScan'],
        'badge': ['addBadge', 'addErrorBadge', 'addHtmlBadge', 'addInfoBadge', 'addShortText', 'addSummary', 'addWarningBadge', 'createSummary',
                  'removeBadges', 'removeSummaries'],
        'bitbucket-build-status-notifier': ['bitbucketStatusNotify'],
        'blackduck-detect': ['synopsys_detect'],
        'browserstack-integration': ['browserstack'],
        'build-name-setter': ['buildDescription', 'buildName'],
        'build-user-vars-plugin': ['withBuildUser'],
        'checkmarx-ast-scanner': ['checkmarxASTScanner'],
        'checks-api': ['publishChecks', 'withChecks'],
        'clover': ['clover'],
        'cobertura': ['cobertura'],
        'code-coverage-api': ['publishCoverage'],
        'config-file-provider': ['configFileProvider'],
        'copyartifact': ['copyArtifacts'],
        'coverage': ['publishCoverage', 'recordCoverage'],
        'cucumber-reports': ['cucumber'],
        'datadog': ['datadog'],
        'dependency-check-jenkins-plugin': ['dependencyCheck', 'dependencyCheckPublisher'],
        'dependency-track': ['dependencyTrackPublisher'],
        'discord-notifier': ['discordSend'],
        'email-ext': ['emailext', 'emailextrecipients'],
        'external-workspace-manager': ['exws', 'exwsAllocate'],
        'file-operations': ['fileOperations'],
        'gatling': ['gatlingArchive', 'gatlingCheck'],
        'git-push': ['gitPush'],
        'github-pr-comment-build': ['issueComment'],
        'gitlab-plugin': ['acceptGitLabMR', 'addGitLabMRComment', 'gitlabBuilds', 'gitlabCommitStatus', 'updateGitlabCommitStatus'],
        'google-play-android-publisher': ['androidApkMove', 'androidApkUpload'],
        'google-storage-plugin': ['googleStorageBucketLifecycle', 'googleStorageBuildLogUpload', 'googleStorageDownload', 'googleStorageUpload'],
        'googlechat-notification': ['googlechatnotification'],
        'gradle': ['withGradle'],
        'hashicorp-vault-plugin': ['withVault'],
        'hipchat': ['hipchatSend'],
        'htmlpublisher': ['publishHTML'],
        'http_request': ['httpRequest'],
        'influxdb': ['influxDbPublisher'],
        'jacoco': ['jacoco'],
        'jfrog': ['jf'],
        'jira': ['jiraComment', 'jiraIssueSelector', 'jiraIssueUpdate', 'jiraSearch'],
        'jira-steps': ['jiraAddComment', 'jiraAssignIssue', 'jiraEditIssue', 'jiraGetIssue', 'jiraGetIssueTransitions', 'jiraGetProject',
                       'jiraJqlSearch', 'jiraNewIssue', 'jiraNewVersion', 'jiraTransitionIssue', 'jiraUploadAttachment'],
        'jms-messaging': ['sendCIMessage', 'waitForCIMessage'],
        'job-dsl': ['jobDsl'],
        'kubernetes': ['container', 'containerLog', 'podTemplate'],
        'kubernetes-cd': ['kubernetesDeploy'],
        'kubernetes-cli': ['kubeconfig', 'withKubeConfig', 'withKubeCredentials'],
        'lockable-resources': ['findLocksSnapshot', 'updateLock'],
        'log-parser': ['logParser'],
        'logstash': ['logstash', 'logstashSend'],
        'mattermost': ['mattermostSend'],
        'mstest': ['mstest'],
        'nexus-artifact-uploader': ['nexusArtifactUploader'],
        'nexus-jenkins-plugin': ['nexusPolicyEvaluation', 'nexusPublisher'],
        'nodejs': ['nodejs'],
        'nunit': ['nunit'],
        'octopusdeploy': ['octopusCreateRelease', 'octopusDeployRelease', 'octopusPack', 'octopusPushBuildInformation', 'octopusPushPackage'],
        'Office-365-Connector': ['office365ConnectorSend'],
        'openshift-client': ['openshift'],
        'opentelemetry': ['setSpanAttributes', 'withNewSpan', 'withSpanAttribute', 'withSpanAttributes'],
        'parameterized-remote-trigger': ['triggerRemoteJob'],
        'performance': ['bzt', 'perfReport', 'performanceReport'],
        'pipeline-aws': ['awsIdentity', 'cfnCreateChangeSet', 'cfnDelete', 'cfnDescribe', 'cfnExecuteChangeSet', 'cfnExports', 'cfnUpdate',
                         'cfnValidate', 'deployAPI', 'ebCreateApplication', 'ebCreateApplicationVersion', 'ebCreateEnvironment', 'ecrDeleteImage',
                         'ecrListImages', 'ecrLogin', 'ecrSetPolicy', 'elbDeregisterInstance', 'elbRegisterInstance', 'invokeLambda',
                         'lambdaVersionCleanup', 's3Copy', 's3Delete', 's3DoesObjectExist', 's3Download', 's3FindFiles', 's3PresignURL', 's3Upload',
                         'snsPublish', 'withAWS'],
        'pipeline-gcp': ['withGCP'],
        'pipeline-github': ['pullRequest'],
        'pipeline-githubnotify-step': ['githubNotify'],
        'pipeline-maven': ['withMaven'],
        'pipeline-npm': ['withNPM'],
        'pipeline-utility-steps': ['compareVersions', 'findFiles', 'prependToFile', 'readCSV', 'readJSON', 'readManifest', 'readMavenPom',
                                   'readProperties', 'readYaml', 'sha1', 'sha256', 'tar', 'tee', 'touch', 'untar', 'unzip', 'verifySha1',
                                   'verifySha256', 'writeCSV', 'writeJSON', 'writeMavenPom', 'writeYaml', 'zip'],
        'plot': ['plot'],
        'publish-over-cifs': ['cifsPublisher'],
        'publish-over-ftp': ['ftpPublisher'],
        'publish-over-ssh': ['sshPublisher'],
        'pyenv-pipeline': ['pybat', 'pysh', 'withPythonEnv'],
        'robot': ['robot'],
        'rocketchatnotifier': ['rocketSend'],
        'sauce-ondemand': ['sauce', 'sauceconnect'],
        'servicenow-devops': ['snDevOpsArtifact', 'snDevOpsChange', 'snDevOpsPackage', 'snDevOpsStep'],
        'slack': ['slackSend', 'slackUploadFile', 'slackUserIdFromEmail', 'slackUserIdsFromCommitters'],
        'snyk-security-scanner': ['snykSecurity'],
        'sonar': ['waitForQualityGate', 'withSonarQubeEnv'],
        'ssh-agent': ['sshagent'],
        'ssh-steps': ['sshCommand', 'sshGet', 'sshPut', 'sshRemove', 'sshScript'],
        'stashNotifier': ['notifyBitbucket'],
        'telegram-notifications': ['telegramSend'],
        'testng-plugin': ['testNG'],
        'text-finder': ['findText'],
        'throttle-concurrents': ['throttle'],
        'veracode-scan': ['veracode'],
        'warnings-ng': ['discoverGitReferenceBuild', 'publishIssues', 'recordIssues', 'scanForIssues'],
        'ws-cleanup': ['cleanWs'],
        'xcode-plugin': ['xcodeBuild'],
        'xunit': ['xunit'],
        'zulip': ['zulipNotification', 'zulipSend'],
    ]
    private static final Map<String, String> BY_STEP = STEPS.collectEntries { plugin, names -> names.collectEntries { [it, plugin] } }
    /** Global variables of plugins. */
    static final Map<String, String> GLOBALS = [Artifactory: 'artifactory', manager: 'groovy-postbuild', openshift: 'openshift-client', pullRequest: 'pipeline-github']

    /** Packages of Jenkins and its plugins. */
    static final List<String> PACKAGES = ['hudson', 'jenkins', 'org.jenkinsci', 'org.jenkins', 'io.jenkins', 'com.cloudbees', 'org.csanchez', 'org.kohsuke', 'net.sf.json']

    /** A message with place and name of a class of Jenkins that is missing here, or null. */
    static String missingClass(String error) {
        def match = error =~ /(?m)^(\S+): (\d+): unable to resolve class ((?:${PACKAGES*.replace('.', '\\.').join('|')})\.[\w.]+)/
        match.find() ? "${match.group(1)}:${match.group(2)}: the class ${match.group(3)} of Jenkins is not supported by pytest-jenkinsfile" : null
    }

    /** The plugin of a step, or null. */
    static String of(String step) { BY_STEP[step] }

    /** The message about a step of Jenkins or a plugin that is not supported. */
    static String unsupportedStep(String step) {
        String plugin = of(step)
        "the step '${step}'${plugin ? " of the plugin ${plugin}" : ''} is not supported by pytest-jenkinsfile; stub it with steps={'${step}': ...}, or --step ${step}"
    }

    /** The message about a step of a plugin that is not installed or not supported; null if no known plugin has the step. */
    static String missingPlugin(String step) {
        String plugin = of(step)
        if (plugin == null) { return null }
        if (Steps.isImplemented(step)) {
            return "the step '${step}' needs the plugin ${plugin}, which is not installed in this scenario: plugins=['${plugin}'], or --plugin ${plugin}"
        }
        unsupportedStep(step)
    }
}
