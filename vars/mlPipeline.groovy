/** The whole delivery; see mlPipeline.txt. */
def call(Map given = [:]) {
    Map config = mlLibrary.checked('mlPipeline', given).arguments
    boolean whole = delivers(config)
    Map plan = planned(config, whole)
    Throwable fault = null
    if (config.keep != 0) {
        properties([buildDiscarder(logRotator(numToKeepStr: "${config.keep ?: 30}"))])
    }
    if (!whole) {
        newestOnly()
    }
    try {
        withEnv(["ML_PROJECT=${config.project ?: env.ML_PROJECT ?: '.'}", "ML_DRY_RUN=${mlLibrary.dry(config)}", "ML_DELIVERS=${whole}"]) {
            mlLibrary.optionalAround('timestamper', { Closure body -> timestamps { body() } }) {
                check(config, plan, whole)
                if (whole) {
                    deliver(config, plan)
                }
            }
        }
    } catch (Throwable caught) {
        fault = caught
        throw caught
    } finally {
        tell(config, 'finished', fault == null ? currentBuild.currentResult : ended(fault))
    }
}

/** Whether this branch or tag goes to production. Pull requests and jobs without a branch never do. */
boolean delivers(Map config = [:]) {
    Map revision = mlBuild.revision()
    if (revision.change || !revision.branch) {
        return false
    }
    return revision.tag ? matches(revision.tag, config.tags ?: ['v*']) : matches(revision.branch, config.branches ?: ['main', 'master', 'release/*'])
}

/** Ends older builds of this branch that still run: they are superseded. */
void newestOnly() {
    int number = mlBuild.number()
    if (number > 1) {
        milestone(ordinal: number - 1)
    }
    milestone(ordinal: number)
}

// --- the two halves --------------------------------------------------------------------------------

private void check(Map config, Map plan, boolean whole) {
    Map branches = [:]
    for (one in plan.beside) {
        List alone = [one]
        branches[one.title] = { part(config, alone) }
    }
    if (!whole) {
        branches['model'] = { part(config, plan.model) }
    }
    if (branches) {
        parallel(branches)
    }
}

private void deliver(Map config, Map plan) {
    milestone(ordinal: 1)
    part(config, plan.model)
    if (plan.approve && mlApprove.due()) {
        tell(config, 'waiting', null)
        around(config, plan.approve) { mlApprove(plan.approve.arguments) }
    }
    if (plan.promote && mlPromote.due()) {
        around(config, plan.promote) {
            timeout(time: config.minutes ?: 120, unit: 'MINUTES') {
                lock(resource(config, 'production')) {
                    milestone(ordinal: 2)
                    mlPromote(plan.promote.arguments)
                }
            }
        }
    }
    if (plan.watch && mlWatch.due()) {
        around(config, plan.watch) { mlWatch(plan.watch.arguments) }
    }
}

/** Runs stages one after the other on one agent; those with an image or options of their own in a container of theirs. */
private void part(Map config, List stages) {
    List groups = grouped(stages, agentOf(config), env.ML_DEPLOY_OPTIONS && !config.kubernetes)
    Closure all = {
        for (group in groups) {
            mlAgent(group.agent) { sequence(config, group.stages) }
        }
    }
    timeout(time: config.minutes ?: 120, unit: 'MINUTES') {
        if (groups.size() > 1) {
            mlAgent.onNode(mlAgent.chosen(agentOf(config)).label, all)
        } else {
            all()
        }
    }
}

/** Stages of one environment that follow each other hold its lock together. */
private void sequence(Map config, List stages) {
    int at = 0
    while (at < stages.size()) {
        String environment = stages[at].environment
        int end = at + 1
        while (environment && end < stages.size() && stages[end].environment == environment) {
            end++
        }
        List together = new ArrayList(stages[at..<end])
        if (environment) {
            lock(resource(config, environment)) { all(config, together) }
        } else {
            all(config, together)
        }
        at = end
    }
}

private void all(Map config, List stages) {
    for (one in stages) {
        around(config, one) { "${one.step}"(one.arguments) }
    }
}

/** The stage with what the user wants before and after it. */
private void around(Map config, Map one, Closure body) {
    extra(config.before, one, 'before')
    stage(one.title) { body() }
    extra(config.after, one, 'after')
}

private void extra(Map hooks, Map one, String when) {
    def wanted = hooks == null ? null : hooks[one.stage]
    if (wanted instanceof Closure) {
        stage("${when} ${one.title}") { wanted() }
    } else if (wanted) {
        wanted.each { name, body -> stage(name) { body() } }
    }
}

/** The name of an environment's lock: one per model, so that two jobs of one model exclude each other. */
private String resource(Map config, String environment) {
    Map registered = mlRun.result('register')
    return "ml-${registered?.model ?: config.project ?: mlBuild.job()}-${environment}".toString()
}

// --- telling people --------------------------------------------------------------------------------

private void tell(Map config, String event, String result) {
    def notify = config.notify
    if (!notify) {
        return
    }
    Map news = [event: event, result: result, description: currentBuild.description, job: mlBuild.job(), number: mlBuild.number() as String, url: mlBuild.address()]
    if (notify instanceof Closure) {
        notify(news)
        return
    }
    String text = "${news.job} #${news.number} ${event == 'waiting' ? 'waits for an approval' : result}: ${news.description ?: ''} ${news.url ?: ''}"
    if (notify.slack) {
        mlLibrary.optional('slack') { slackSend(channel: notify.slack, message: text) }
    }
    if (notify.mail) {
        mail(to: notify.mail, subject: "${news.job} #${news.number}", body: text)
    }
}

// --- the plan --------------------------------------------------------------------------------------

/** What will run, every name and argument checked before anything does. */
private Map planned(Map config, boolean whole) {
    Map runs = mlLibrary.runs()
    Map found = laidOut(runs, config, whole)
    if (found.problem) {
        error("mlPipeline: ${found.problem}")
    }
    String table = libraryResource('steps.json')
    for (one in found.stages) {
        Map checked = mlLibrary.examine(table, one.step, one.arguments)
        if (checked.problem) {
            error("mlPipeline: ${checked.problem}")
        }
    }
    return found
}

@NonCPS
private Map laidOut(Map runs, Map config, boolean whole) {
    Set known = new LinkedHashSet((runs.ci + runs.cd).collect { it.stage })
    for (String option in ['stages', 'before', 'after']) {
        String stranger = (config[option] ?: [:]).keySet().find { !(it.toString() in known) }
        if (stranger) {
            return [problem: "${option}: no stage '${stranger}'; ${mlLibrary.nearest(stranger, known)}".toString()]
        }
    }
    Map common = config.subMap(whole ? ['policy', 'set', 'credentials'] : ['policy', 'set'])
    List stages = (whole ? runs.ci.findAll { !(it.stage in runs.cd*.stage) } + runs.cd : runs.ci).findAll {
        config.stages == null || config.stages[it.stage] != false
    }.collect { laid(it, common, config) }
    Set serial = runs.cd*.stage as Set
    Map plan = [stages: stages, approve: stages.find { it.stage == 'approve' }, promote: stages.find { it.stage == 'promote' }]
    plan.beside = stages.findAll { !(it.stage in serial) }
    plan.model = stages.findAll { it.stage in serial && !(it.stage in ['approve', 'promote', 'watch']) }
    plan.watch = stages.find { it.stage == 'watch' }
    Map poor = config.before || config.after ? null : stages.find { it.needs - stages*.stage }
    if (poor) {
        return [problem: "stages: ${poor.stage} needs what ${(poor.needs - stages*.stage)[0]} makes; switch both off or none".toString()]
    }
    if (config.kubernetes && stages.any { it.image }) {
        return [problem: 'a stage with an image of its own is not possible with kubernetes']
    }
    return plan
}

@NonCPS
private Map laid(Map run, Map common, Map config) {
    Map own = [:] + (config.stages?.get(run.stage) instanceof Map ? config.stages[run.stage] : [:])
    String image = own.remove('image')
    Map arguments = common + run.arguments + (run.environment ? [environment: run.environment] : [:])
    if (run.stage == 'gate' && config.whenKept) {
        arguments.whenKept = config.whenKept
    }
    if (run.stage == 'approve') {
        arguments << config.subMap(['submitters', 'hours', 'automatic'])
    }
    if (run.stage in ['approve', 'promote', 'watch']) {
        arguments.agent = config.approveAgent ?: agentOf(config)
    }
    return [stage: run.stage, step: run.step, environment: run.environment, image: image, needs: run.needs,
            engine: run.engine || run.engineWith.any { own[it] }, arguments: arguments + own,
            title: run.environment ? "${run.stage} ${run.environment}".toString() : run.stage]
}

@NonCPS
private Map agentOf(Map config) {
    List names = ['image', 'dockerfile', 'node', 'kubernetes', 'label', 'package', 'lock', 'home', 'cache', 'ca', 'index', 'gpus', 'options']
    return config.findAll { name, value -> name in names }
}

@NonCPS
private List grouped(List stages, Map agent, boolean apart) {
    List groups = []
    for (Map one in stages) {
        Map own = [engine: apart && one.engine] + (one.image ? [image: one.image] : [:])
        if (groups && groups.last().own == own) {
            groups.last().stages << one
        } else {
            Map place = one.image ? agent.findAll { name, value -> !(name in ['dockerfile', 'node']) } : agent
            groups << [own: own, agent: place + own, stages: [one]]
        }
    }
    return groups
}

@NonCPS
private boolean matches(String name, List patterns) {
    return patterns.any { String pattern ->
        List parts = pattern.split('\\*', -1).collect { java.util.regex.Pattern.quote(it) }
        name ==~ parts.join('.*')
    }
}

@NonCPS
private String ended(Throwable fault) {
    return fault.class.name.endsWith('FlowInterruptedException') ? fault.result.toString() : 'FAILURE'
}
