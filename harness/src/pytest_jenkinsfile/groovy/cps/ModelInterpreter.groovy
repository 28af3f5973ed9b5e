package jenkinsfile.cps

import jenkinsfile.Declarative
import jenkinsfile.DeclarativeParser
import jenkinsfile.EnvironmentScope
import jenkinsfile.ForwardReference

/** Runs the model of a Declarative pipeline, in Jenkins' order. CPS code: it is saved and reloaded with the rest. */
class ModelInterpreter implements Serializable {
    private final Object script
    private Map root

    ModelInterpreter(Object script) { this.script = script }

    def call(Closure unparsed) {
        throw new IllegalStateException('pipeline { } is only understood as a statement of its own in a Jenkinsfile or in `call` of a library variable')
    }

    def call(Closure model, String declarative) {
        Declarative.begin()
        root = model.call()
        expandMatrices(root.stages)
        for (library in (root.libraries ?: [])) { script.library(library.call().toString()) }
        setProperties()
        def error = null
        def postRan = false
        try {
            inAgent(root.agent, false, root.options) {
                withCredentials(root.environment) {
                    withEnvironment(root.environment) {
                        def attempts = 0
                        inWrappers(wrappers(root.options)) {
                            if (attempts++ > 0) { Declarative.retryStages() }
                            error = null
                            withTools(root.tools, root.agent, null, false) {
                                error = stages(root.stages, null, null, Declarative.restartFrom(), null)
                                postRan = true
                                error = postOfPipeline(error)
                            }
                            if (error != null) { throw error }
                        }
                    }
                }
            }
        } catch (Throwable e) {
            Declarative.failed(e)
            if (error == null) { error = e }
        }
        if (!postRan) { error = postOfPipeline(error) }
        if (error != null) { throw error }
    }

    private void setProperties() {
        def options = []
        for (option in (root.options ?: [])) {
            if (!(option.name in DeclarativeParser.WRAPPERS) && !(option.name in Declarative.FLAGS)) {
                def values = option.values.call()
                options << Declarative.option(option.name, values)
            }
        }
        if (hasFlag(root.options, 'preserveStashes')) { Declarative.preserveStashes() }
        def parameters = evaluateAll(root.parameters)
        def triggers = evaluateAll(root.triggers)
        Declarative.properties(options, parameters, triggers)
    }

    /** Expand each matrix into its cells: branches of `parallel`, named by their values. */
    private void expandMatrices(List stages) {
        for (stage in (stages ?: [])) {
            if (stage.matrix) {
                stage.parallel = []
                for (values in Declarative.cells(stage.matrix.combinations)) {
                    def cell = stage.matrix.template.call()
                    cell.name = Declarative.cellName(values)
                    cell.cell = values
                    stage.parallel << cell
                }
            }
            expandMatrices(stage.stages)
            expandMatrices(stage.parallel)
        }
    }

    private List evaluateAll(List closures) {
        def values = []
        for (closure in (closures ?: [])) { values << closure.call() }
        return values
    }

    /** Run stages one after the other; return the first error. */
    private Throwable stages(List stages, Throwable error, Map skipped, String restartFrom, Map parent) {
        def first = error
        def reason = skipped
        def restarting = restartFrom != null
        for (stage in stages) {
            if (restarting) {
                restarting = stage.name != restartFrom
                reason = restarting ? [text: "Stage \"${stage.name}\" skipped due to this build restarting at stage \"${restartFrom}\"".toString()] : skipped
            }
            try {
                this.stage(stage, first, reason, parent)
            } catch (Throwable e) {
                Declarative.failed(e)
                if (first == null) { first = e }
            }
        }
        return first
    }

    private void stage(Map stage, Throwable before, Map skipped, Map parent) {
        def error = before
        script.stage(stage.name) {
            def reason = skipped ?: skipReason(stage, error)
            try {
                if (reason != null) {
                    skip(stage, error, reason)
                } else {
                    withCell(stage) {
                        if (!run(stage, parent)) {
                            reason = [why: 'due to when conditional']
                            skip(stage, error, [why: 'due to when conditional', text: message(stage, 'due to when conditional')])
                        }
                    }
                }
            } catch (Throwable e) {
                Declarative.failed(e)
                if (error == null) { error = e }
            }
            if (reason == null && stage.parallel) { error = postOfStage(stage, error) }
            if (error != null) { throw error }
        }
    }

    private Map skipReason(Map stage, Throwable error) {
        def why = null
        if (error != null) { why = 'due to earlier failure(s)' }
        if (error == null && Declarative.isUnstable() && hasFlag(root.options, 'skipStagesAfterUnstable')) {
            why = 'due to earlier stage(s) marking the build as unstable'
        }
        return why == null ? null : [why: why, text: message(stage, why)]
    }

    private String message(Map stage, String why) { "Stage \"${stage.name}\" skipped ${why}".toString() }

    private void skip(Map stage, Throwable error, Map reason) {
        Declarative.log(reason.text)
        Declarative.skipped()
        script.getContext('hudson.model.Run')
        if (stage.parallel) {
            def branches = [:]
            for (child in stage.parallel) {
                def one = child
                branches[one.name] = { -> this.stage(one, error, reason.why == null ? reason : [why: reason.why, text: message(one, reason.why)], stage) }
            }
            script.parallel(branches)
        } else if (stage.stages) {
            stages(stage.stages, error, reason, null, stage)
        }
    }

    /** Run the stage unless `when` excludes it; return whether it ran. */
    private boolean run(Map stage, Map parent) {
        stage.enclosingAgent = stage.agent ?: parent?.enclosingAgent ?: root.agent
        def when = stage.when
        def passed = when == null ? true : null
        if (passed == null && when.beforeOptions) { passed = allMet(when) }
        if (passed == false) { return false }
        def attempts = 0
        inWrappers(wrappers(stage.options)) {
            if (attempts++ > 0) { Declarative.retryStages() }
            if (passed == null && when.beforeInput) { passed = allMet(when) }
            if (passed != false) {
                withInput(stage.input) {
                    if (passed == null && when.beforeAgent) { passed = allMet(when) }
                    if (passed != false) {
                        inAgent(stage.agent, true, stage.options) {
                            if (passed == null) { passed = allMet(when) }
                            if (passed != false) {
                                withCredentials(stage.environment) {
                                    withEnvironment(stage.environment) {
                                        withTools(stage.parallel ? [:] : stage.tools, stage.agent ?: root.agent, stage.parallel ? [:] : (parent?.tools ?: root.tools), true) {
                                            content(stage)
                                        }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
        return passed
    }

    private void content(Map stage) {
        if (stage.parallel) {
            script.parallel(branches(stage))
        } else if (stage.stages) {
            def error = postOfStage(stage, stages(stage.stages, null, null, null, stage))
            if (error != null) { throw error }
        } else {
            steps(stage)
        }
    }

    private Map branches(Map stage) {
        def branches = [:]
        for (child in stage.parallel) {
            def one = child
            branches[one.name] = { -> this.stage(one, null, null, stage) }
        }
        if (stage.failFast || hasFlag(root.options, 'parallelsAlwaysFailFast')) { branches.failFast = true }
        return branches
    }

    private void steps(Map stage) {
        def error = null
        try {
            stage.steps.call()
        } catch (Throwable e) {
            error = nodeError(e, stage.enclosingAgent)
            if (stage.post) { Declarative.failed(error) }
        }
        error = postOfStage(stage, error)
        if (error != null) { throw error }
    }

    /** Under `agent none`, replace the error of a step that needs a node by the one that Jenkins raises. */
    private Throwable nodeError(Throwable error, Map agent) {
        if (!Declarative.lacksNode(error) || (agent != null && agent.type != 'none')) { return error }
        try {
            script.error(Declarative.NO_NODE)
        } catch (Throwable failure) {
            return failure
        }
        return error
    }

    private Throwable postOfStage(Map stage, Throwable error) {
        if (!anySatisfied(stage.post, error, true)) { return error }
        Declarative.log('Post stage')
        Declarative.resultSoFar()
        return post(stage.post, error, true, stage.enclosingAgent)
    }

    private Throwable postOfPipeline(Throwable error) {
        def first = error
        Declarative.succeededSoFar()
        if (anySatisfied(root.post, null, false)) {
            try {
                script.stage('Declarative: Post Actions') {
                    def own = post(root.post, null, false, root.agent)
                    if (own != null) { throw own }
                }
            } catch (Throwable e) {
                if (first == null) { first = e }
            }
        }
        return first
    }

    private Throwable post(Map conditions, Throwable error, boolean ofStage, Map agent) {
        def first = error
        for (name in DeclarativeParser.POST) {
            if (conditions[name] && Declarative.applies(name, first, ofStage)) {
                try {
                    conditions[name].call()
                } catch (Throwable e) {
                    def failure = nodeError(e, agent)
                    Declarative.recordPostFailure(name, failure)
                    if (first == null) { first = failure }
                }
            }
        }
        return first
    }

    private boolean anySatisfied(Map conditions, Throwable error, boolean ofStage) {
        for (name in DeclarativeParser.POST) {
            if (conditions != null && conditions[name] && Declarative.applies(name, error, ofStage)) { return true }
        }
        return false
    }

    private boolean allMet(Map when) {
        for (condition in when.conditions) {
            if (!isMet(condition)) { return false }
        }
        return true
    }

    private boolean isMet(Map condition) {
        if (condition.kind == 'expression') { return Declarative.truth(condition.body.call()) }
        if (condition.kind == 'not') { return !isMet(condition.conditions[0]) }
        if (condition.kind in ['allOf', 'anyOf']) {
            for (inner in condition.conditions) {
                def yes = isMet(inner)
                if (condition.kind == 'anyOf' && yes) { return true }
                if (condition.kind == 'allOf' && !yes) { return false }
            }
            return condition.kind == 'allOf'
        }
        def list = condition.values.call()
        def values = list && list[0] instanceof Map ? list[0] : (list ? [value: list[0]] : [:])
        def env = Declarative.variables()
        switch (condition.kind) {
            case 'branch': return Declarative.branch(env, values)
            case 'tag': return Declarative.tag(env, values)
            case 'buildingTag': return Declarative.tag(env, [:])
            case 'changelog': case 'changeset': return changed(condition.kind, values)
            case 'changeRequest': return Declarative.changeRequest(env, values)
            case 'environment': return Declarative.environment(env, values)
            case 'isRestartedRun': return Declarative.restartFrom() != null
            case 'equals': return values.expected == values.actual
            case 'triggeredBy': return Declarative.triggeredBy(values)
        }
        return false
    }

    private boolean changed(String kind, Map values) {
        def warning = Declarative.emptyChangelog()
        if (warning) {
            script.echo(warning)
            return false
        }
        return Declarative.changed(kind, values)
    }

    /** Set the axis values of a matrix cell for all directives of its stage. */
    private void withCell(Map stage, Closure body) {
        if (stage.cell) {
            script.withEnv(Declarative.environmentOf(stage.cell).toList()) { body.call() }
        } else {
            body.call()
        }
    }

    private void withTools(Map tools, Map agent, Map outer, boolean inStage, Closure body) {
        def all = Declarative.mergedTools(tools, outer)
        if (!all || agent == null || agent.type == 'none') {
            body.call()
            return
        }
        def variables = []
        if (inStage) {
            variables = toolVariables(all)
        } else {
            script.stage('Declarative: Tool Install') { variables = toolVariables(all) }
        }
        script.withEnv(variables) { body.call() }
    }

    private List toolVariables(List tools) {
        def variables = []
        for (tool in tools) {
            def version = tool.version.call().toString()
            script.tool(name: version, type: tool.type)
            variables.addAll(script.envVarsForTool(toolId: tool.type, toolVersion: version))
        }
        return variables
    }

    private void withInput(Map input, Closure body) {
        if (input == null) {
            body.call()
            return
        }
        def values = input.values.call()
        def parameters = evaluateAll(input.parameters)
        def arguments = [message: values.message]
        for (name in ['id', 'ok', 'submitter', 'submitterParameter']) {
            if (values[name]) { arguments[name] = values[name] }
        }
        if (parameters) { arguments.parameters = parameters }
        def answer = script.input(arguments)
        if (!parameters && !arguments.submitterParameter) {
            body.call()
            return
        }
        def exported = [:]
        if (answer instanceof Map) {
            exported = answer
        } else if (arguments.submitterParameter) {
            exported = [(arguments.submitterParameter): answer]
        } else if (parameters.size() == 1) {
            exported = [(parameters[0].arguments.name): answer]
        }
        script.withEnv(Declarative.environmentOf(exported).toList()) { body.call() }
    }

    private void withCredentials(List environment, Closure body) {
        def bindings = []
        for (entry in (environment ?: [])) {
            if (entry.credentials) {
                def id = entry.value.call()
                bindings << Declarative.credential(entry.name, id.toString())
            }
        }
        if (bindings) {
            script.withCredentials(bindings) { body.call() }
        } else {
            body.call()
        }
    }

    private void withEnvironment(List environment, Closure body) {
        def outerNames = []
        for (entry in (root.environment ?: [])) { outerNames << entry.name }
        def scope = new EnvironmentScope(outerNames)
        for (entry in (environment ?: [])) {
            if (!entry.credentials) { scope.add(entry.name, entry.value) }
        }
        for (entry in (environment ?: [])) {
            if (!entry.credentials) { evaluate(scope, entry.name) }
        }
        def pairs = scope.pairs()
        if (pairs) {
            script.withEnv(pairs) { body.call() }
        } else {
            body.call()
        }
    }

    /** Evaluate a value; one that refers to a later variable is evaluated again after that variable. */
    private void evaluate(EnvironmentScope scope, String name) {
        while (!scope.has(name)) {
            def later = null
            try {
                def value = scope.enter(name)
                scope.leave(name, value.call())
            } catch (ForwardReference missing) {
                later = missing.variable
            }
            if (later != null) { evaluate(scope, later) }
        }
    }

    private List wrappers(List options) {
        def selected = []
        for (option in (options ?: [])) {
            if (option.name in DeclarativeParser.WRAPPERS) { selected << option }
        }
        return selected
    }

    private boolean hasFlag(List options, String name) {
        for (option in (options ?: [])) {
            if (option.name == name) {
                def values = option.values.call()
                return values ? Declarative.truth(values[0]) : true
            }
        }
        return false
    }

    private void inWrappers(List wrappers, Closure body) {
        if (!wrappers) {
            body.call()
            return
        }
        def outer = wrappers[0]
        def rest = new ArrayList(wrappers)
        rest.remove(0)
        def values = outer.values.call()
        if (values) {
            script."${outer.name}"(values[0]) { inWrappers(rest, body) }
        } else {
            script."${outer.name}" { inWrappers(rest, body) }
        }
    }

    private void inAgent(Map agent, boolean inStage, List options, Closure body) {
        def used = agent
        if (used == null && inStage && hasFlag(root.options, 'newContainerPerStage') && root.agent.type in ['docker', 'dockerfile']) { used = root.agent }
        if (used == null || used.type == 'none') {
            body.call()
            return
        }
        Map values = used.values == null ? [:] : used.values.call()
        def checkout = !(hasFlag(root.options, 'skipDefaultCheckout') || hasFlag(options, 'skipDefaultCheckout'))
        def subdirectory = subdirectory(options) ?: subdirectory(root.options)
        if (used.type in ['docker', 'dockerfile']) {
            onNode(values, values.reuseNode && inStage) { inContainer(used.type, values, inStage, [enabled: checkout, subdirectory: subdirectory], body) }
        } else if (used.type == 'kubernetes') {
            inPod(values) { withCheckout(checkout, inStage, subdirectory, body) }
        } else {
            onNode(values, false) { withCheckout(checkout, inStage, subdirectory, body) }
        }
    }

    private String subdirectory(List options) {
        for (option in (options ?: [])) {
            if (option.name == 'checkoutToSubdirectory') { return option.values.call()[0] }
        }
        return null
    }

    private void inPod(Map values, Closure body) {
        if (values.yamlFile && Declarative.hasScm()) { values.yaml = script.readTrusted(values.yamlFile.toString()) }
        if (values.label) { script.echo('[WARNING] label option is deprecated. To use a static pod template, use the \'inheritFrom\' option.') }
        if (values.containerTemplate) { script.echo('[WARNING] containerTemplate option is deprecated, use yaml syntax to define containers.') }
        def container = values.containerTemplate?.name ?: values.defaultContainer ?: 'jnlp'
        script.podTemplate(Declarative.podArguments(values)) {
            def label = values.label ?: script.env.POD_LABEL
            onNode([label: label, customWorkspace: values.customWorkspace], false) {
                if (container == 'jnlp') {
                    body.call()
                } else {
                    script.container(container.toString()) { body.call() }
                }
            }
        }
    }

    private void onNode(Map values, boolean reuse, Closure body) {
        if (reuse) {
            script.getContext('hudson.FilePath')
            if (Declarative.hasWorkspace()) {
                body.call()
                return
            }
        }
        def label = values.label ?: ''
        script.node(label.toString()) {
            if (values.customWorkspace) {
                script.ws(values.customWorkspace) { body.call() }
            } else {
                body.call()
            }
        }
    }

    private void withCheckout(boolean enabled, boolean inStage, String subdirectory, Closure body) {
        if (!enabled || !Declarative.hasScm()) {
            body.call()
            return
        }
        def values = null
        def checkout = { ->
            if (inStage) {
                values = script.checkout(script.scm)
            } else {
                script.stage('Declarative: Checkout SCM') { values = script.checkout(script.scm) }
            }
        }
        if (subdirectory) {
            script.dir(subdirectory) { checkout.call() }
        } else {
            checkout.call()
        }
        script.withEnv(Declarative.environmentOf(values).toList()) { body.call() }
    }

    private void inContainer(String type, Map values, boolean inStage, Map checkout, Closure body) {
        def reused = values.reuseNode && inStage
        withCheckout(checkout.enabled && !reused, inStage, checkout.subdirectory) {
            def docker = script.docker
            if (type == 'dockerfile') {
                def image = null
                def arguments = "${values.additionalBuildArgs ?: ''} -f \"${values.filename ?: 'Dockerfile'}\" \"${values.dir ?: '.'}\"".trim()
                def build = { -> image = docker.build(docker.nameOf(values), arguments) }
                if (inStage) {
                    build.call()
                } else {
                    script.stage('Declarative: Agent Setup') { build.call() }
                }
                image.inside((values.args ?: '').toString()) { body.call() }
            } else {
                def image = docker.image(values.image.toString())
                if (values.alwaysPull) { image.pull() }
                image.inside((values.args ?: '').toString()) { body.call() }
            }
        }
    }
}
