package org.mlpipeline

/** The step mlPipeline: checks on every branch, and on those that deliver all stages to production. */
class Delivery implements Serializable {
    private final Object steps
    private final BuildDescription description
    private final BuildState state

    Delivery(Object steps) {
        this.steps = steps
        description = new BuildDescription(steps)
        state = new BuildState(steps)
    }

    void run(Map arguments) {
        Map config = new StepArguments(steps).accept('mlPipeline', arguments).arguments
        Throwable fault = null
        try {
            description.around(null, config) { runPlanned(config, new DeliveryBranches(steps).delivers(config)) }
        } catch (Throwable caught) {
            fault = caught
            throw caught
        } finally {
            new DeliveryNotification(steps, config.notify).send('finished', fault == null ? steps.currentBuild.currentResult : new BuildFailure(fault).result())
        }
    }

    private void runPlanned(Map config, boolean delivers) {
        String project = new ProjectFolder(steps).of(config)
        Map plan = new DeliveryPlan(new StepTable(steps.libraryResource('steps.json'))).plan(new StepArguments(steps), config, delivers)
        if (plan.problem) {
            description.fail(config, "mlPipeline: ${plan.problem}")
        }
        int number = state.begin(project)
        if (number < 0) {
            description.fail([:], "mlPipeline: this build delivers the project '${project}' at this moment; " +
                'give each model a project: of its own, or call one after the other')
        }
        try {
            prepare(config, delivers, number)
            runStages(config, plan, delivers, number, project)
        } finally {
            state.end(project)
        }
    }

    private void prepare(Map config, boolean delivers, int number) {
        if (config.keep != 0) {
            steps.properties([steps.buildDiscarder(steps.logRotator(numToKeepStr: "${config.keep ?: 30}"))])
        }
        if (!delivers && number == 0) {
            new Milestones(steps).endOlderBuilds()
        }
    }

    private void runStages(Map config, Map plan, boolean delivers, int number, String project) {
        steps.withEnv(["ML_PROJECT=${project}", "ML_DRY_RUN=${new DryRun(steps).isOn(config)}", "ML_DELIVERS=${delivers}"]) {
            new OptionalSteps(steps).wrap('timestamper', { Closure body -> steps.timestamps { body() } }) {
                check(config, plan, delivers)
                if (delivers) {
                    deliver(config, plan, number)
                }
            }
        }
    }

    /** The checks, on branches that do not deliver beside the quick model. */
    private void check(Map config, Map plan, boolean delivers) {
        Map branches = [:]
        for (stage in plan.checks) {
            List single = [stage]
            branches[stage.title] = { onAgents(config, single) }
        }
        if (!delivers) {
            branches['model'] = { onAgents(config, plan.delivery) }
        }
        if (branches) {
            steps.parallel(branches)
        }
    }

    private void deliver(Map config, Map plan, int number) {
        Milestones milestones = new Milestones(steps)
        // Ordinals grow within a build: each delivery of it has two.
        boolean usesMilestones = !milestones.hasEndedOlderBuilds()
        if (usesMilestones) {
            milestones.pass(2 * number + 1)
        }
        onAgents(config, plan.delivery)
        Map promotionSteps = [mlApprove: new ApprovalStep(steps), mlPromote: new PromoteStep(steps), mlWatch: new WatchStep(steps)]
        for (stage in plan.promotion) {
            if (promotionSteps[stage.step].due([:])) {
                promote(config, stage, usesMilestones ? 2 * number + 2 : 0)
            }
        }
    }

    /** Runs a stage of the promotion: one that waits for people without a limit, one that changes production under its lock. */
    private void promote(Map config, Map stage, int ordinal) {
        if (stage.waits) {
            new DeliveryNotification(steps, config.notify).send('waiting', null)
        }
        around(config, stage) {
            if (!stage.locks) {
                runStep(stage)
                return
            }
            steps.timeout(time: config.minutes ?: 120, unit: 'MINUTES') {
                steps.lock(lockName(config, stage, stage.locks)) {
                    if (ordinal) {
                        new Milestones(steps).pass(ordinal)
                    }
                    runStep(stage)
                }
            }
        }
    }

    private void onAgents(Map config, List stages) {
        AgentArguments arguments = new AgentArguments()
        Map agent = arguments.of(config)
        List groups = arguments.groups(stages, agent, steps.env.ML_DEPLOY_OPTIONS && !config.kubernetes)
        Closure all = {
            for (group in groups) {
                new AgentStep(steps).run(group.agent) { inOrder(config, group.stages) }
            }
        }
        steps.timeout(time: config.minutes ?: 120, unit: 'MINUTES') {
            if (groups.size() > 1) {
                new AgentNode(steps).run(new AgentSettings(steps).place(agent).label, config, all)
            } else {
                all()
            }
        }
    }

    /** Runs stages one after the other; those of one environment that follow each other hold its lock together. */
    private void inOrder(Map config, List stages) {
        int first = 0
        while (first < stages.size()) {
            String environment = stages[first].environment
            int end = first + 1
            while (environment && end < stages.size() && stages[end].environment == environment) {
                end++
            }
            List together = new ArrayList(stages[first..<end])
            if (environment) {
                steps.lock(lockName(config, together[0], environment)) { callAll(config, together) }
            } else {
                callAll(config, together)
            }
            first = end
        }
    }

    private void callAll(Map config, List stages) {
        for (stage in stages) {
            around(config, stage) { runStep(stage) }
        }
    }

    private Object runStep(Map stage) {
        return steps."${stage.step}"(stage.arguments)
    }

    /** A stage of Jenkins, with the user's own stages before and after it. */
    private void around(Map config, Map stage, Closure body) {
        runHooks(config, stage, 'before')
        inStage(config, stage.title, body)
        runHooks(config, stage, 'after')
    }

    private void runHooks(Map config, Map stage, String when) {
        def hook = config[when] == null ? null : config[when][stage.stage]
        if (hook instanceof Closure) {
            hook = [("${when} ${stage.title}".toString()): hook]
        }
        if (hook) {
            hook.each { name, body -> inStage(config, name, body) }
        }
    }

    private void inStage(Map config, String title, Closure body) {
        steps.stage(title) { description.around(title, config) { body() } }
    }

    /** One lock for each model and environment, so that two jobs of one model exclude each other. */
    private String lockName(Map config, Map stage, String environment) {
        String model = state.result(stage.modelNamedBy, config)?.model
        return "ml-${model ?: config.project ?: new BuildInfo(steps).job()}-${environment}".toString()
    }
}
