/** Runs its block where ml-pipeline can run; see mlAgent.txt. */
def call(Map given = [:], Closure body) {
    return within([:], given, body)
}

/** The same for a step with these arguments: its project is the one whose line in the description a failure belongs to. */
Object within(Map step, Map given, Closure body) {
    boolean begun = false
    try {
        return placed(step, given) { begun = true; body() }
    } catch (Throwable fault) {
        mlOutcome.describe(step, 'end', begun ? mlOutcome.reason(fault) : "agent: ${mlOutcome.reason(fault)}")
        throw fault
    }
}

private Object placed(Map step, Map given, Closure body) {
    Map plan = mlLibrary.checked('mlAgent', given)
    Map settings = plan.arguments
    String home = mlBuild.configured().ML_HOME
    if (home && settings.home && settings.home != home) {
        error("mlAgent: 'home' is '${settings.home}', and Jenkins' configuration sets ML_HOME to '${home}', which holds for all; leave 'home' out")
    }
    settings.home = home ?: settings.home
    Map place = chosen(settings)
    if (place.problem) {
        error("mlAgent: ${place.problem}")
    }
    place.contract = plan.spec.contract
    if (env.WORKSPACE) {
        if (place.kind == 'kubernetes') {
            error('mlAgent: kubernetes: takes a pod of its own; call it outside node and agent')
        }
        return furnish(place, settings, body)
    }
    if (place.kind == 'kubernetes') {
        return inPod(place, settings, body)
    }
    return onNode(place.label, step) {
        furnish(place, settings, body)
    }
}

/** Takes a node with the checked-out sources, without setting anything up on it. */
def onNode(String label, Map step = [:], Closure body) {
    boolean here = false
    try {
        return node(label) {
            here = true
            checkout scm
            body()
        }
    } catch (Throwable fault) {
        if (!here) {
            mlOutcome.describe(step, 'end', "no agent${label ? " with the label '${label}'" : ''} came: ${mlOutcome.reason(fault)}")
        }
        throw fault
    }
}

/** What was chosen of image, dockerfile, node and kubernetes. */
Map chosen(Map settings) {
    return choice(settings, [image: env.ML_AGENT_IMAGE, label: env.ML_AGENT_LABEL, home: env.ML_HOME])
}

/** Whether what outlives builds may be reached: a branch that does not deliver gets no home and no engine. */
private boolean trusted() {
    return !mlBuild.revision().change && (env.ML_DELIVERS ? env.ML_DELIVERS == 'true' : !mlBuild.revision().branch || mlPipeline.delivers())
}

private Object inPod(Map place, Map settings, Closure body) {
    // The agent's own container runs as 1000, and both write to the workspace.
    Map template = [runAsUser: '1000', runAsGroup: '1000'] + settings.kubernetes
    String image = template.remove('image')
    try {
        template.containers = (template.containers ?: []) + [containerTemplate(name: 'ml', image: image, command: 'sleep', args: '99d')]
    } catch (NoSuchMethodError missing) {
        error('mlAgent: kubernetes: needs the Kubernetes plugin, which is not installed')
    }
    return podTemplate(template) {
        onNode(template.label ?: env.POD_LABEL, [:]) {
            container('ml') {
                ready(place, settings, body)
            }
        }
    }
}

private Object furnish(Map place, Map settings, Closure body) {
    if (env.PATH && !env.PATH.tokenize(':').any { it.endsWith('/bin') }) {
        error("mlAgent: PATH is '${env.PATH.take(100)}', where no command is; environment {}, withEnv or a parameter replaces it (names are compared without case)")
    }
    if (place.kind == 'node') {
        return ready(place, settings, body)
    }
    if (!hasDocker()) {
        error("mlAgent: ${place.kind}: needs the Docker Pipeline plugin, which is not installed")
    }
    boolean trusted = trusted()
    String home = trusted ? settings.home ?: env.ML_HOME : null
    List mounts = [home, trusted || !settings.cache ? settings.cache : "${settings.cache}/checks".toString()].findAll()
    if (mounts) {
        withEnv(["ML_MOUNTS=${mounts.join(' ')}"]) {
            if (sh(returnStatus: true, label: 'folders to mount', script: 'mkdir -p $ML_MOUNTS')) {
                error("mlAgent: the folders to mount cannot be made, ${mounts.join(' and ')}: an administrator makes them on ${env.NODE_NAME}, owned by the agent's user")
            }
        }
    }
    if (place.kind == 'dockerfile') {
        place.image = "ml-pipeline-agent:${mlLibrary.digest(mlBuild.job() + ' ' + settings.dockerfile).take(12)}".toString()
        withEnv(["ML_DOCKERFILE=${settings.dockerfile}"] + index(settings)) {
            docker.build(place.image, (settings.index ? '--build-arg PIP_INDEX_URL ' : '') + '-f "$ML_DOCKERFILE" .')
        }
    }
    // The image must not bring policies of its own to where the node has the administrators'.
    List policies = ['/etc/ml-pipeline/policy.yaml', mlBuild.configured().ML_POLICY].findAll { it && fileExists(it) }
    return docker.image(place.image).inside(options(settings, mounts, home, policies, settings.engine && trusted ? env.ML_DEPLOY_OPTIONS : null)) {
        ready(place, settings, body)
    }
}

/** Where environments are kept. What does not deliver has a place of its own, and only reads that of what does. */
private Map caches(Map settings, boolean contained, String folder) {
    if (contained && !settings.cache) {
        return [own: "${folder}/cache"] // of this job's workspace alone
    }
    String cache = settings.cache ?: "${env.HOME ?: folder}/.cache/ml-pipeline"
    return trusted() ? [own: cache] : [own: "${cache}/checks", shared: cache]
}

private boolean hasDocker() {
    try {
        return docker != null
    } catch (MissingPropertyException missing) {
        return false
    }
}

/** Sets up the variables and the command, then runs the block. */
private Object ready(Map place, Map settings, Closure body) {
    String replaced = mlBuild.replaced() // again: what the node sets is seen on the node only
    if (replaced) {
        error("mlAgent: ${replaced}")
    }
    boolean contained = place.kind != 'node'
    String folder = env.WORKSPACE_TMP ?: "${env.WORKSPACE}@tmp"
    Map cache = caches(settings, contained, folder)
    List variables = index(settings) + authorities(settings) + mlBuild.held() + (settings.home && trusted() ? ["ML_HOME=${settings.home}"] : [])
    variables += "PYTHONPYCACHEPREFIX=${folder}/pycache" // byte code beside verified sources is not read
    if (contained) {
        variables += ["HOME=${folder}/home", 'USER=ml', 'LOGNAME=ml']
    }
    // Each value starts with '-': Jenkins removes a variable that is empty, and a container then shows its own.
    List inputs = ["ML_PACKAGE=-${settings.package ?: ''}", "ML_PACKAGE_DEFAULT=-${env.ML_PIPELINE_PACKAGE ?: ''}",
                   "ML_LOCK=-${settings.lock ?: ''}", "ML_CACHE=-${cache.own}", "ML_CACHE_SHARED=-${cache.shared ?: ''}",
                   "ML_CACHE_DAYS=-${contained ? '' : 30}", "ML_CONTRACT=-${place.contract}"]
    return withEnv(variables) {
        Map found = [:]
        withEnv(inputs) {
            found = told(sh(returnStdout: true, label: 'ml-pipeline: environment', script: libraryResource('ml-pipeline/agent.sh')))
        }
        if (found.error || found.bin == null) {
            error("mlAgent: ${found.error ?: 'the environment could not be made, see the lines above'}")
        }
        // A PATH+X of the administrators goes before PATH+ML, and in a container PATH+ML changes nothing.
        List command = ["ML_PIPELINE_BIN=${found.bin ?: '-'}"]
        if (found.bin && !contained) {
            command += "PATH+ML=${found.bin}"
        }
        withEnv(command + ["ML_AGENT=${place.name}"]) {
            body()
        }
    }
}

private List index(Map settings) {
    return settings.index ? ["PIP_INDEX_URL=${settings.index}"] : []
}

private List authorities(Map settings) {
    List names = ['SSL_CERT_FILE', 'REQUESTS_CA_BUNDLE', 'PIP_CERT', 'CURL_CA_BUNDLE', 'GIT_SSL_CAINFO']
    return settings.ca ? names.collect { "${it}=${settings.ca}" } : []
}

// --- plain functions -------------------------------------------------------------------------------

@NonCPS
private Map choice(Map settings, Map standard) {
    List given = ['image', 'dockerfile', 'node', 'kubernetes'].findAll { settings[it] != null }
    if (given.size() > 1) {
        return [problem: "${given.join(' and ')} exclude each other".toString()]
    }
    for (String name in ['home', 'cache', 'ca']) {
        String path = settings[name] ?: standard[name]
        if (path && !(path ==~ '/[A-Za-z0-9_@%+=,./-]*')) {
            return [problem: "'${name}' is '${path}'; expected an absolute path without spaces".toString()]
        }
    }
    String kind = given ? given[0] : standard.image ? 'image' : 'node'
    if (kind == 'kubernetes' && !settings.kubernetes.image) {
        return [problem: "kubernetes lacks 'image'"]
    }
    String image = kind == 'image' ? settings.image ?: standard.image : kind == 'kubernetes' ? settings.kubernetes.image.toString() : null
    String label = settings.node ?: settings.label ?: standard.label ?: ''
    String name = [image: image, dockerfile: settings.dockerfile, node: "node ${label}".trim().toString(), kubernetes: image][kind]
    return [kind: kind, image: image, label: label, name: name]
}

@NonCPS
private String options(Map settings, List mounts, String home, List policies, String more) {
    List words = mounts.collect { "-v ${it}:${it}" } + policies.unique().collect { "-v ${it}:${it}:ro" }
    if (settings.cache && !(settings.cache in mounts)) {
        words << "-v ${settings.cache}:${settings.cache}:ro"
    }
    if (home) {
        words << "-e ML_HOME=${home}"
    }
    if (settings.ca) {
        words << "-v ${settings.ca}:${settings.ca}:ro"
    }
    if (settings.gpus) {
        words << "--gpus ${settings.gpus}"
    }
    return (words + [settings.options, more].findAll()).join(' ')
}

/** The lines NAME=VALUE of the set-up script. */
@NonCPS
private Map told(String text) {
    Map found = [:]
    for (String line in text.readLines()) {
        int at = line.indexOf('=')
        if (at > 0) {
            found[line.substring(0, at)] = line.substring(at + 1)
        }
    }
    return found
}
