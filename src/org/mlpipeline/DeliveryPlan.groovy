package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS

/** Which stages a delivery runs, with their arguments and agents. */
class DeliveryPlan implements Serializable {
    private final AgentArguments agents = new AgentArguments()
    private final StepTable table

    DeliveryPlan(StepTable table) {
        this.table = table
    }

    /**
     * The stages in three lists: `checks` (beside the others), `delivery` (on one agent, checks of plug-ins first) and `promotion`
     * (the rest). Or `problem`: every name and argument is checked before anything runs. `unknownStage` says that the problem is
     * the name of a stage, which may be a plug-in's.
     */
    @NonCPS
    Map plan(StepArguments arguments, Map config, boolean delivers) {
        Map plan = arranged(config, delivers)
        List stages = plan.problem ? [] : plan.checks + plan.delivery + plan.promotion
        for (Map stage in stages) {
            plan.problem = plan.problem ?: arguments.check(table, stage.step, stage.arguments).problem
            plan.problem = plan.problem ?: arguments.check(table, 'mlAgent', stage.agent ?: [:]).problem
        }
        return plan
    }

    @NonCPS
    private Map arranged(Map config, boolean delivers) {
        List ci = table.run('ci')
        List cd = table.run('cd')
        Set known = new LinkedHashSet((ci + cd)*.stage)
        for (String option in ['stages', 'before', 'after']) {
            String unknown = (config[option] ?: [:]).keySet().find { !(it.toString() in known) }
            if (unknown) {
                return [problem: "${option}: no stage '${unknown}'; ${new NearestName(known).hint(unknown)}".toString(), unknownStage: true]
            }
        }
        List all = delivers ? ci.findAll { !(it.stage in cd*.stage) } + cd : ci
        List stages = all.findAll { config.stages == null || config.stages[it.stage] != false }.collect { configured(it, config, delivers) }
        Map incomplete = config.before || config.after ? null : stages.find { it.needs - stages*.stage }
        if (incomplete) {
            return [problem: "stages: ${incomplete.stage} needs what ${(incomplete.needs - stages*.stage)[0]} makes; switch both off or none".toString()]
        }
        Map plan = [
            checks: stages.findAll { it.phase == 'check' && !it.plugIn },
            delivery: stages.findAll { it.phase == 'check' && it.plugIn } + stages.findAll { it.phase == 'delivery' },
            promotion: stages.findAll { it.phase == 'promotion' },
        ]
        plan.problem = agents.problem(plan.delivery, config)
        return plan
    }

    @NonCPS
    private Map configured(Map planned, Map config, boolean delivers) {
        Map own = [:] + (config.stages?.get(planned.stage) instanceof Map ? config.stages[planned.stage] : [:])
        Map ownAgent = (own.agent instanceof Map ? own.remove('agent') : [:]) + (own.containsKey('image') ? [image: own.remove('image')] : [:])
        Map common = config.subMap(delivers ? ['policy', 'set', 'credentials'] : ['policy', 'set'])
        Map arguments = common + planned.arguments + config.subMap(planned.fromPipeline) + (planned.environment ? [environment: planned.environment] : [:])
        Map agent = ownAgent ? agents.merged(agents.of(config), ownAgent) : null
        if (planned.phase == 'promotion') {
            agent = agents.merged(agents.merged(agents.of(config), config.approveAgent ?: [:]), ownAgent)
            arguments.agent = agent
        }
        return planned.subMap(['stage', 'step', 'environment', 'needs', 'phase', 'waits', 'locks', 'plugIn']) + [
            table: planned.plugIn ? table : null,
            agent: agent, ownAgent: ownAgent, engine: planned.engine || planned.engineWith.any { own[it] }, arguments: joined(arguments, own),
            modelNamedBy: table.stageWith('namesLocks'),
            title: planned.environment ? "${planned.stage} ${planned.environment}".toString() : planned.stage,
        ]
    }

    /** A stage's own arguments over the common ones, to which its `credentials` and `set` are added. */
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
}
