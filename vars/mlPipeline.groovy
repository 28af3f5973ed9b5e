import groovy.transform.Field

/** Arguments of an agent that choose another machine. */
@Field static final List AWAY = ['node', 'kubernetes', 'label']

/** The whole delivery; see mlPipeline.txt. */
def call(Map given = [:]) {
    Map config = mlLibrary.checked('mlPipeline', given).arguments
    boolean whole = delivers(config)
    String project = mlLibrary.project(config)
    Throwable fault = null
    try {
        mlOutcome.named(null, config) {
            Map plan = planned(config, whole) + [turn: mlRun.begin(project)]
            try {
                carryOut(config, plan, whole, project)
            } finally {
                mlRun.end(project)
            }
        }
    } catch (Throwable caught) {
        fault = caught
        throw caught
    } finally {
        tell(config, 'finished', fault == null ? currentBuild.currentResult : mlOutcome.resultOf(fault))
    }
}

private void carryOut(Map config, Map plan, boolean whole, String project) {
    if (config.keep != 0) {
        properties([buildDiscarder(logRotator(numToKeepStr: "${config.keep ?: 30}"))])
    }
    if (!whole && plan.turn == 0) {
        newestOnly()
    }
    withEnv(["ML_PROJECT=${project}", "ML_DRY_RUN=${mlLibrary.dry(config)}", "ML_DELIVERS=${whole}"]) {
        mlLibrary.optionalAround('timestamper', { Closure body -> timestamps { body() } }) {
            check(config, plan, whole)
            if (whole) {
                deliver(config, plan)
            }
        }
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

/** Ends older builds of this branch that still run: they are superseded. Once in a build. */
void newestOnly() {
    int number = mlBuild.number()
    if (!mlRun.once('newest only')) {
        return
    }
    if (number > 1) {
        pass(number - 1)
    }
    pass(number)
}

/** Passes a milestone. Jenkins has none inside parallel; what a newer delivery has overtaken is refused by approve and promote. */
private void pass(int ordinal) {
    try {
        milestone(ordinal: ordinal)
    } catch (Exception refused) {
        if (!refused.message?.contains('inside parallel')) {
            throw refused
        }
        echo 'mlPipeline: inside parallel there is no milestone: older builds are not ended; approve and promote refuse a version that is overtaken'
    }
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
    // Ordinals grow within a build: each delivery of it has two.
    boolean milestones = !mlRun.done('newest only')
    if (milestones) {
        pass(2 * plan.turn + 1)
    }
    part(config, plan.model)
    if (plan.approve && mlApprove.due()) {
        tell(config, 'waiting', null)
        around(config, plan.approve) { mlApprove(plan.approve.arguments) }
    }
    if (plan.promote && mlPromote.due()) {
        around(config, plan.promote) {
            timeout(time: config.minutes ?: 120, unit: 'MINUTES') {
                lock(resource(config, 'production')) {
                    if (milestones) {
                        pass(2 * plan.turn + 2)
                    }
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
            mlAgent.onNode(mlAgent.chosen(agentOf(config)).label, config, all)
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
    extra(config, one, 'before')
    stage(one.title) { mlOutcome.named(one.title, config) { body() } }
    extra(config, one, 'after')
}

private void extra(Map config, Map one, String when) {
    def wanted = config[when] == null ? null : config[when][one.stage]
    if (wanted instanceof Closure) {
        wanted = [("${when} ${one.title}".toString()): wanted]
    }
    if (wanted) {
        wanted.each { name, body -> stage(name) { mlOutcome.named(name, config) { body() } } }
    }
}

/** The name of an environment's lock: one per model, so that two jobs of one model exclude each other. */
private String resource(Map config, String environment) {
    Map registered = mlRun.result('register', config)
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
        mlOutcome.telling('notify') { notify(news) }
        return
    }
    String text = "${news.job} #${news.number} ${event == 'waiting' ? 'waits for an approval' : result}: ${news.description ?: ''} ${news.url ?: ''}"
    if (notify.slack) {
        mlLibrary.optional('slack') { slackSend(channel: notify.slack, message: text) }
    }
    if (notify.mail) {
        mlOutcome.telling('mail') { mail(to: notify.mail, subject: "${news.job} #${news.number}", body: text) }
    }
}

// --- the plan --------------------------------------------------------------------------------------

/** What will run, every name and argument checked before anything does. */
private Map planned(Map config, boolean whole) {
    Map runs = mlLibrary.runs()
    Map found = laidOut(runs, config, whole)
    String table = libraryResource('steps.json')
    for (one in found.stages) {
        found.problem = found.problem ?: mlLibrary.examine(table, one.step, one.arguments).problem
        found.problem = found.problem ?: mlLibrary.examine(table, 'mlAgent', one.agent ?: [:]).problem
    }
    if (found.problem) {
        mlOutcome.fail(config, "mlPipeline: ${found.problem}")
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
    plan.problem = misplaced(plan.model, config)
    return plan
}

/** What is wrong with an agent that a single stage asks for. */
@NonCPS
private String misplaced(List stages, Map config) {
    if (config.kubernetes && stages.any { it.agent }) {
        return 'a stage with an image or agent of its own is not possible with kubernetes'
    }
    Map away = stages.find { it.place.keySet().any { name -> name in AWAY } }
    return away ? "stages: ${away.stage}: its agent cannot set ${AWAY.join(', ')}: the data lie on the agent of the stages before it" : null
}

@NonCPS
private Map laid(Map run, Map common, Map config) {
    Map own = [:] + (config.stages?.get(run.stage) instanceof Map ? config.stages[run.stage] : [:])
    Map place = (own.agent instanceof Map ? own.remove('agent') : [:]) + (own.containsKey('image') ? [image: own.remove('image')] : [:])
    Map arguments = common + run.arguments + (run.environment ? [environment: run.environment] : [:])
    if (run.stage == 'gate' && config.whenKept) {
        arguments.whenKept = config.whenKept
    }
    if (run.stage == 'approve') {
        arguments << config.subMap(['submitters', 'hours', 'automatic'])
    }
    Map agent = place ? inherited(agentOf(config), place) : null
    if (run.stage in ['approve', 'promote', 'watch']) {
        agent = inherited(inherited(agentOf(config), config.approveAgent ?: [:]), place)
        arguments.agent = agent
    }
    return [stage: run.stage, step: run.step, environment: run.environment, agent: agent, place: place, needs: run.needs,
            engine: run.engine || run.engineWith.any { own[it] }, arguments: joined(arguments, own),
            title: run.environment ? "${run.stage} ${run.environment}".toString() : run.stage]
}

/** A stage's arguments over those of all stages: credentials and `set` come on top of the common ones. */
@NonCPS
private Map joined(Map common, Map own) {
    Map all = common + own
    if (common.credentials && own.credentials instanceof Map) {
        all.credentials = common.credentials + own.credentials
    }
    if (common.set && own.set) {
        all.set = common.set + own.set
    }
    return all
}

/** An agent's arguments over those of another, which hold where it says nothing; of the four places it has one. */
@NonCPS
private Map inherited(Map base, Map own) {
    List places = ['image', 'dockerfile', 'node', 'kubernetes']
    List replaced = (own.keySet().any { it in places } ? places : []) + (own.label ? ['node'] : [])
    Map all = base.findAll { name, value -> !(name in replaced) } + own
    if (base.kubernetes && own.kubernetes instanceof Map) {
        all.kubernetes = base.kubernetes + own.kubernetes
    }
    return all
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
        Map own = (one.agent ?: agent) + [engine: apart && one.engine]
        if (groups && groups.last().agent == own) {
            groups.last().stages << one
        } else {
            groups << [agent: own, stages: [one]]
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
