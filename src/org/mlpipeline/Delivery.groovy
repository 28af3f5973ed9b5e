package org.mlpipeline

import com.cloudbees.groovy.cps.NonCPS

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
        String problem = new Notification(steps, config.notify).problem(['slack', 'mail'])
        if (problem) {
            description.fail(config, "mlPipeline: ${problem}")
        }
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
        setJobProperties(config, delivers)
        String cause = delivers ? causeOfTraining(config) : ''
        if (cause == null) {
            return
        }
        runDelivery(cause ? config + [cause: cause] : config, delivers, project)
    }

    /** Why the model is trained, '' where nobody says; null if a scheduled build has nothing to train. */
    private String causeOfTraining(Map config) {
        BuildInfo info = new BuildInfo(steps)
        String cause = config.cause?.trim() ?: info.cause()
        if (!cause && config.retrain == 'planned' && info.isScheduled()) {
            Map training = new TrainingPlan(steps).read(config)
            if (!training.train) {
                String message = "nothing to train: ${training.why}"
                steps.echo("mlPipeline: ${message}")
                description.add(config, 'model', message)
                return null
            }
            cause = training.cause ?: training.why
        }
        description.addCause(config, cause)
        return cause
    }

    private void runDelivery(Map config, boolean delivers, String project) {
        Map plan = planned(config, delivers)
        int number = state.begin(project)
        if (number < 0) {
            description.fail([:], "mlPipeline: this build delivers the project '${project}' at this moment; " +
                'give each model a project: of its own, or call one after the other')
        }
        try {
            if (!delivers && number == 0) {
                new Milestones(steps).endOlderBuilds()
            }
            runStages(config, plan, delivers, number, project)
        } finally {
            state.end(project)
        }
    }

    /** The plan of the library's stages; with those of plug-ins where the arguments have a name that the library does not know. */
    private Map planned(Map config, boolean delivers) {
        Map plan = new DeliveryPlan(new StepTable(steps.libraryResource('steps.json'))).plan(new StepArguments(steps), config, delivers)
        if (plan.unknownStage) {
            new AgentStep(steps).run(new AgentArguments().of(config), config) { plan = plannedWithPlugIns(config, delivers) }
        }
        return accepted(config, plan)
    }

    /** The plan with the stages of plug-ins that the package on this agent has. */
    private Map plannedWithPlugIns(Map config, boolean delivers) {
        StepTable table = new StepTable(steps.libraryResource('steps.json'), new PackageCommand(steps).stages('mlPipeline', config))
        Map plan = accepted(config, new DeliveryPlan(table).plan(new StepArguments(steps), config, delivers)) + [includesPlugIns: true]
        String names = plugInNames(plan)
        if (names) {
            steps.echo("mlPipeline: stages of plug-ins in this build: ${names}")
        }
        return plan
    }

    @NonCPS
    private String plugInNames(Map plan) {
        return (plan.delivery + plan.promotion).findAll { it.plugIn }*.title.join(', ')
    }

    private Map accepted(Map config, Map plan) {
        if (plan.problem) {
            description.fail(config, "mlPipeline: ${plan.problem}")
        }
        return plan
    }

    /** `properties` replaces those that it set before, so all are given at once. */
    private void setJobProperties(Map config, boolean delivers) {
        if (config.keep == 0) {
            return
        }
        List properties = [steps.buildDiscarder(steps.logRotator(numToKeepStr: "${config.keep ?: 30}"))]
        if (delivers) {
            properties << steps.parameters([steps.string(name: 'CAUSE', defaultValue: '', description: 'Why the model is trained again; a monitor sets it')])
        }
        steps.properties(properties)
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
            branches['model'] = { onModelAgents(config, plan, delivers) }
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
        onModelAgents(config, plan, true)
        Map promotionSteps = [mlApprove: new ApprovalStep(steps), mlPromote: new PromoteStep(steps), mlWatch: new WatchStep(steps)]
        // A plug-in's stage is due where the stage before it was.
        boolean due = promotionSteps.mlApprove.due([:])
        for (stage in plan.promotion) {
            due = stage.plugIn ? due : promotionSteps[stage.step].due([:])
            if (due) {
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
            if (!stage.locks && !stage.plugIn) {
                runStep(stage)
                return
            }
            steps.timeout(time: config.minutes ?: 120, unit: 'MINUTES') {
                if (!stage.locks) {
                    runStep(stage)
                    return
                }
                steps.lock(lockName(config, stage, stage.locks)) {
                    if (ordinal) {
                        new Milestones(steps).pass(ordinal)
                    }
                    runStep(stage)
                }
            }
        }
    }

    /** The stages of the model. On the first of their agents the stages of plug-ins are read, once in a build, and run among them. */
    private void onModelAgents(Map config, Map plan, boolean delivers) {
        Closure extend = {
            plan.putAll(plannedWithPlugIns(config, delivers))
            plan.delivery
        }
        onAgents(config, plan.delivery, plan.includesPlugIns ? null : extend)
    }

    /** Runs stages on the agents that they need. `extend`, where it is not null, runs on the first one and returns the stages. */
    private void onAgents(Map config, List stages, Closure extend = null) {
        List groups = groups(config, stages)
        Closure all = { runGroups(config, stages, extend) }
        steps.timeout(time: config.minutes ?: 120, unit: 'MINUTES') {
            if (groups.size() > 1 || (extend != null && hasSeparateEngine(config))) {
                new AgentNode(steps).run(new AgentSettings(steps).place(new AgentArguments().of(config)).label, config, all)
            } else {
                all()
            }
        }
    }

    private void runGroups(Map config, List stages, Closure extend) {
        List remaining = stages
        boolean isExtended = extend == null
        while (remaining || !isExtended) {
            Map agent = groups(config, remaining)[0].agent
            int finished = 0
            new AgentStep(steps).run(agent) {
                if (!isExtended) {
                    remaining = extend()
                    isExtended = true
                }
                Map group = groups(config, remaining)[0]
                if (group.agent == agent) {
                    inOrder(config, group.stages)
                    finished = group.stages.size()
                }
            }
            remaining = remaining.drop(finished)
        }
    }

    private List groups(Map config, List stages) {
        AgentArguments arguments = new AgentArguments()
        return arguments.groups(stages, arguments.of(config), hasSeparateEngine(config))
    }

    /** Whether stages that need the engine run in a container of their own, with ML_DEPLOY_OPTIONS. */
    private boolean hasSeparateEngine(Map config) {
        return steps.env.ML_DEPLOY_OPTIONS && !config.kubernetes
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
        if (stage.plugIn) {
            return new StageStep(steps).run(stage.step, stage.arguments, stage.table)
        }
        // A script in the sandbox may call this too, and what is called by a name here is not checked by the sandbox.
        String name = stage.step
        return name ==~ 'ml[A-Z][A-Za-z]*' ? steps."${name}"(stage.arguments) : steps.error("mlPipeline: '${name}' is no step of this library")
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
