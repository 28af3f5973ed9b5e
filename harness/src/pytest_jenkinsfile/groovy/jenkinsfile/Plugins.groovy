package jenkinsfile

/** Names that Jenkins may know although this harness does not play them: they are refused, and no result of a build. */
class Plugins {
    /** Steps that every usual Jenkins has and this harness lacks. */
    static final List<String> USUAL_STEPS = [
        'dockerFingerprintFrom', 'dockerFingerprintRun', 'nodesByLabel', 'resolveScm', 'svn', 'unarchive', 'validateDeclarativePipeline',
        'waitForBuild', 'withContext',
    ]
    /** Steps by the plugin that brings them. */
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

    /** Where the classes of Jenkins and its plugins are. */
    static final List<String> PACKAGES = ['hudson', 'jenkins', 'org.jenkinsci', 'org.jenkins', 'io.jenkins', 'com.cloudbees', 'org.csanchez', 'org.kohsuke', 'net.sf.json']

    /** The place and name of a class of Jenkins that a script wants and that is not here, or null. */
    static String missingClass(String error) {
        def found = error =~ /(?m)^(\S+): (\d+): unable to resolve class ((?:${PACKAGES*.replace('.', '\\.').join('|')})\.[\w.]+)/
        found.find() ? "${found.group(1)}:${found.group(2)}: the class ${found.group(3)} of Jenkins is not in this harness" : null
    }

    /** The plugin that brings a step, or null. */
    static String of(String step) { BY_STEP[step] }

    /** What is said of a step that exists in Jenkins, or in a plugin, but not here. */
    static String gapOfStep(String step) {
        String plugin = of(step)
        "the step '${step}'${plugin ? " of the plugin ${plugin}" : ''} is not in this harness; give its answer with steps={'${step}': ...}, or --step ${step}"
    }

    /** Why a step was not found although a Jenkins may have it; null for a name that no plugin here is known for. */
    static String gap(String step) {
        String plugin = of(step)
        if (plugin == null) { return null }
        if (Steps.isPlayed(step)) { return "the step '${step}' needs the plugin ${plugin}, which the scenario does not have: plugins=['${plugin}'], or --plugin ${plugin}" }
        gapOfStep(step)
    }
}
