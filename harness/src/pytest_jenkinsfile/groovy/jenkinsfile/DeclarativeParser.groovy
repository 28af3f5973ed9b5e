package jenkinsfile

import groovy.json.JsonOutput
import org.codehaus.groovy.ast.ASTNode
import org.codehaus.groovy.ast.AnnotatedNode
import org.codehaus.groovy.ast.ClassNode
import org.codehaus.groovy.ast.Parameter
import org.codehaus.groovy.ast.VariableScope
import org.codehaus.groovy.ast.expr.ArgumentListExpression
import org.codehaus.groovy.ast.expr.BinaryExpression
import org.codehaus.groovy.ast.expr.ClosureExpression
import org.codehaus.groovy.ast.expr.ConstantExpression
import org.codehaus.groovy.ast.expr.DeclarationExpression
import org.codehaus.groovy.ast.expr.Expression
import org.codehaus.groovy.ast.expr.GStringExpression
import org.codehaus.groovy.ast.expr.ListExpression
import org.codehaus.groovy.ast.expr.MapEntryExpression
import org.codehaus.groovy.ast.expr.MapExpression
import org.codehaus.groovy.ast.expr.MethodCallExpression
import org.codehaus.groovy.ast.expr.NamedArgumentListExpression
import org.codehaus.groovy.ast.expr.TupleExpression
import org.codehaus.groovy.ast.expr.VariableExpression
import org.codehaus.groovy.ast.stmt.BlockStatement
import org.codehaus.groovy.ast.stmt.EmptyStatement
import org.codehaus.groovy.ast.stmt.ExpressionStatement
import org.codehaus.groovy.ast.stmt.Statement
import org.codehaus.groovy.classgen.GeneratorContext
import org.codehaus.groovy.control.CompilePhase
import org.codehaus.groovy.control.ResolveVisitor
import org.codehaus.groovy.control.SourceUnit
import org.codehaus.groovy.control.customizers.CompilationCustomizer
import org.codehaus.groovy.control.messages.SyntaxErrorMessage
import org.codehaus.groovy.syntax.SyntaxException

/**
 * Converts `pipeline { … }` into a model (maps, lists and closures) that `ModelInterpreter` runs, before the CPS transformation.
 * Anything outside the published syntax is an error with name and line.
 */
class DeclarativeParser extends CompilationCustomizer {
    static final Map<String, List<String>> SECTIONS = [
        pipeline: ['agent', 'environment', 'libraries', 'options', 'parameters', 'post', 'stages', 'tools', 'triggers'],
        stage: ['agent', 'environment', 'failFast', 'input', 'matrix', 'options', 'parallel', 'post', 'stages', 'steps', 'tools', 'when'],
        matrix: ['agent', 'axes', 'environment', 'excludes', 'input', 'options', 'post', 'stages', 'tools', 'when'],
        axis: ['name', 'values'],
        exclude: ['name', 'notValues', 'values'],
        input: ['id', 'message', 'ok', 'parameters', 'submitter', 'submitterParameter'],
    ]
    /** Sections of early versions, with the message of Jenkins. */
    private static final Map<String, String> RENAMED = [
        jobProperties: 'The ‘jobProperties’ section has been renamed as of version 0.7. Use ‘properties’ instead.',
        notifications: 'The ‘notifications’ section has been removed as of version 0.6. Use ‘post’ for all post-build actions.',
        postBuild: 'The ‘postBuild’ section has been renamed as of version 0.6. Use ‘post’ for all post-build actions.',
        properties: 'The ‘properties’ section has been renamed as of version 0.8. Use ‘options’ instead.',
        wrappers: 'The \'wrappers\' section has been removed as of version 0.8. Use \'options\' instead.',
    ]
    private static final Map<String, String> BLOCKLESS = [
        option: 'Options definitions cannot have blocks', parameter: 'Build parameters definitions cannot have blocks',
        trigger: 'Triggers definitions cannot have blocks',
    ]
    private static final Map<String, String> BLOCKED_STEPS = [
        parallel: 'The parallel step can only be used as the only top-level step in a stages step block',
        properties: 'The properties step cannot be used in Declarative Pipelines',
        stage: 'The stage step cannot be used in Declarative Pipelines',
    ]
    static final List<String> POST = ['always', 'changed', 'fixed', 'regression', 'aborted', 'success', 'unsuccessful', 'unstable', 'failure', 'notBuilt', 'cleanup']
    static final List<String> WHEN_FLAGS = ['beforeAgent', 'beforeInput', 'beforeOptions']
    static final List<String> WHEN_NESTED = ['allOf', 'anyOf', 'not']
    static final List<String> WHEN = ['branch', 'buildingTag', 'changelog', 'changeRequest', 'changeset', 'environment', 'equals', 'isRestartedRun',
        'tag', 'triggeredBy']
    static final List<String> WRAPPERS = ['ansiColor', 'catchError', 'lock', 'podTemplate', 'retry', 'timeout', 'timestamps', 'warnError', 'withChecks',
        'withCredentials', 'withEnv']
    /** Options that set a property of the job and have no effect on a build, with their plugin. */
    static final Map<String, String> PLUGIN_OPTIONS = [
        authorizationMatrix: 'matrix-auth', copyArtifactPermission: 'copyartifact', githubProjectProperty: 'github', gitLabConnection: 'gitlab-plugin',
        office365ConnectorWebhooks: 'Office-365-Connector', rebuild: 'rebuild', throttleJobProperty: 'throttle-concurrents',
    ]
    static final List<String> OPTIONS = WRAPPERS + ['buildDiscarder', 'checkoutToSubdirectory', 'disableConcurrentBuilds', 'disableRestartFromStage',
        'disableResume', 'durabilityHint', 'newContainerPerStage', 'overrideIndexTriggers', 'parallelsAlwaysFailFast', 'preserveStashes', 'quietPeriod',
        'rateLimitBuilds', 'skipDefaultCheckout', 'skipStagesAfterUnstable']
    static final List<String> STAGE_OPTIONS = WRAPPERS + ['checkoutToSubdirectory', 'skipDefaultCheckout']
    static final Map<String, List<String>> AGENTS = [
        label: ['customWorkspace', 'label', 'retries'], node: ['customWorkspace', 'label', 'retries'],
        docker: ['alwaysPull', 'args', 'containerPerStageRoot', 'customWorkspace', 'image', 'label', 'registryCredentialsId', 'registryUrl', 'reuseNode'],
        dockerfile: ['additionalBuildArgs', 'args', 'containerPerStageRoot', 'customWorkspace', 'dir', 'filename', 'label', 'registryCredentialsId',
                     'registryUrl', 'reuseNode'],
        kubernetes: ['activeDeadlineSeconds', 'agentContainer', 'agentInjection', 'cloud', 'containerTemplate', 'containerTemplates', 'customWorkspace',
                     'defaultContainer', 'idleMinutes', 'inheritFrom', 'inheritYamlMergeStrategy', 'instanceCap', 'label', 'namespace',
                     'nodeSelector', 'podRetention', 'retries', 'schedulerName', 'serviceAccount', 'showRawYaml', 'slaveConnectTimeout',
                     'supplementalGroups', 'workingDir', 'workspaceVolume', 'yaml', 'yamlFile', 'yamlMergeStrategy'],
    ]
    private static final Map<String, List<String>> REQUIRED = [docker: ['image'], label: ['label'], node: ['label']]
    static final List<String> TRIGGERS = ['cron', 'githubPush', 'pollSCM', 'upstream']
    /** Triggers of plugins, with their plugin. */
    static final Map<String, String> PLUGIN_TRIGGERS = [
        bitBucketTrigger: 'bitbucket', bitbucketPush: 'bitbucket', dockerHubTrigger: 'dockerhub-notification', GenericTrigger: 'generic-webhook-trigger',
        gerrit: 'gerrit-trigger', githubPullRequests: 'github-pullrequest', gitlab: 'gitlab-plugin',
        issueCommentTrigger: 'github-pr-comment-build', parameterizedCron: 'parameterized-scheduler', URLTrigger: 'urltrigger',
    ]
    static final List<String> PARAMETERS = ['booleanParam', 'choice', 'credentials', 'file', 'password', 'run', 'string', 'text']
    /** Parameters of plugins, with their plugin. */
    static final Map<String, String> PLUGIN_PARAMETERS = [gitParameter: 'git-parameter', persistentString: 'persistent-parameter', validatingString: 'validating-string-parameter']

    private final CompilationFindings findings
    private final Map installation
    private final StepArguments arguments = new StepArguments({ ASTNode node, CharSequence message -> invalid(node, message as String) })
    /** Checks that Jenkins makes after it has read the whole pipeline. */
    private final List<Closure> invalid = []
    private SourceUnit source

    DeclarativeParser(CompilationFindings findings, Map installation) {
        super(CompilePhase.CONVERSION)
        this.findings = findings
        this.installation = installation
    }

    @Override
    void call(SourceUnit unit, GeneratorContext context, ClassNode type) {
        source = unit
        unit.AST.imports.each { libraries(it) }
        unit.AST.starImports.each { libraries(it) }
        type.methods.findAll { it.name in ['run', 'call'] && it.code instanceof BlockStatement }.each { method ->
            statements(method.code as BlockStatement).each { statement ->
                Expression expression = statement instanceof ExpressionStatement ? statement.expression : null
                if (expression instanceof DeclarationExpression) { libraries(expression) }
                Section section = Section.of(statement)
                if (section?.name == 'pipeline' && section.body && section.arguments.empty) {
                    Expression model = pipeline(section)
                    (section.node as MethodCallExpression).arguments =
                        new ArgumentListExpression([closure(new ExpressionStatement(model), section.node), new ConstantExpression('declarative')])
                }
            }
        }
    }

    private void libraries(AnnotatedNode node) {
        node.annotations.findAll { it.classNode.nameWithoutPackage == 'Library' }.each { annotation ->
            Expression value = annotation.getMember('value')
            (value instanceof ListExpression ? value.expressions : [value]).each { findings.libraries << it.text }
        }
    }

    private Expression pipeline(Section pipeline) {
        Map<String, Section> parts = sections(pipeline, 'pipeline')
        ['stages', 'agent'].findAll { !parts[it] }.each { error(pipeline.node, "Missing required section \"${it}\"") }
        Expression model = map([ // in the order in which Jenkins checks them
            stages: stages(parts.stages),
            post: post(parts.post),
            environment: environment(parts.environment),
            agent: parts.agent ? agent(parts.agent) : null,
            tools: tools(parts.tools),
            options: options(parts.options, OPTIONS, PLUGIN_OPTIONS),
            parameters: describables(parts.parameters, PARAMETERS, PLUGIN_PARAMETERS, 'parameter'),
            triggers: describables(parts.triggers, TRIGGERS, PLUGIN_TRIGGERS, 'trigger'),
            libraries: libraries(parts.libraries),
        ])
        invalid.each { it.call() }
        invalid.clear()
        model
    }

    private Expression stages(Section section, boolean inBranch = false) {
        if (section == null) { return null }
        if (!section.body) {
            error(section.node, "Expected a block for ${section.name}")
            return null
        }
        List<Expression> stages = statements(section.body).collect { statement ->
            Section child = Section.of(statement)
            if (child?.name != 'stage') {
                error(statement, 'Expected a stage')
                return null
            }
            stage(child, inBranch)
        }
        if (stages.empty) { error(section.node, 'No stages specified') }
        List<String> names = stages.findAll().collect { (it as MapExpression).mapEntryExpressions[0].valueExpression.text }
        names.findAll { names.count(it) > 1 }.unique().each { error(section.node, "Duplicate stage name: \"${it}\"") }
        list(stages.findAll())
    }

    private Expression stage(Section stage, boolean inBranch) {
        Expression name = stage.arguments ? stage.arguments[0] : null
        if (name == null) {
            error(stage.node, 'Expected a stage name but did not find any')
            return null
        }
        if (!(name instanceof ConstantExpression) || !(name.value instanceof String)) {
            error(name, 'Expected string literal')
            return null
        }
        if (!stage.body) {
            error(stage.node, 'Expected a block for stage')
            return null
        }
        Map<String, Section> parts = sections(stage, 'stage')
        Map<String, Expression> directives = [
            name: name,
            agent: parts.agent ? agent(parts.agent) : null,
            when: when(parts.when),
            post: post(parts.post),
            tools: tools(parts.tools),
            environment: environment(parts.environment),
            options: options(parts.options, STAGE_OPTIONS, [:]),
            input: input(parts.input),
        ]
        checkContent(stage, name.value as String, parts, inBranch)
        map(directives + [
            failFast: parts.failFast ? truth(parts.failFast) : null,
            steps: parts.steps ? steps(parts.steps) : null,
            parallel: stages(parts.parallel, true),
            matrix: matrix(parts.matrix),
            stages: stages(parts.stages, inBranch),
        ])
    }

    private void checkContent(Section stage, String name, Map<String, Section> parts, boolean inBranch) {
        List<String> content = ['steps', 'stages', 'parallel', 'matrix'].findAll { parts[it] }
        Section branches = parts.matrix ?: parts.parallel
        if (inBranch && branches) {
            invalid(branches.node, '"matrix" or "parallel" cannot be nested inside another "matrix" or "parallel".')
        } else if (content.size() > 1) {
            invalid(stage.node, "Only one of \"matrix\", \"parallel\", \"stages\", or \"steps\" allowed for stage \"${name}\"")
        } else if (content.empty) {
            invalid(stage.node, "Expected one of \"steps\", \"stages\", or \"parallel\" for stage \"${name}\"")
        } else if (branches) {
            ['agent', 'tools'].findAll { parts[it] }.each {
                invalid(parts[it].node, "\"${it}\" is not allowed in stage \"${name}\" as it contains parallel or matrix stages")
            }
        }
    }

    /** The axes and excludes of a matrix as JSON, and the model of the stage that each cell runs. */
    private Expression matrix(Section section) {
        if (section == null) { return null }
        if (!section.body) {
            error(section.node, 'Expected a block for matrix')
            return null
        }
        Map<String, Section> parts = sections(section, 'matrix')
        ['axes', 'stages'].findAll { !parts[it] }.each { error(section.node, "Missing required section \"${it}\"") }
        if (!parts.axes || !parts.stages) { return null }
        String combinations = JsonOutput.toJson([axes: axes(parts.axes, 'axis'), excludes: excludes(parts.excludes)])
        map([combinations: new ConstantExpression(combinations), template: value(map([
            agent: parts.agent ? agent(parts.agent) : null,
            environment: environment(parts.environment),
            options: options(parts.options, STAGE_OPTIONS, [:]),
            input: input(parts.input),
            when: when(parts.when),
            tools: tools(parts.tools),
            stages: stages(parts.stages, true),
            post: post(parts.post),
        ]), section.node)])
    }

    private List<List<Axis>> excludes(Section section) {
        if (section == null) { return [] }
        List<Section> excludes = blocks(section, 'exclude')
        if (excludes.empty) { error(section.node, 'No exclude directives specified') }
        excludes.collect { axes(it, 'exclude') }
    }

    private List<Section> blocks(Section section, String name) {
        if (!section.body) {
            error(section.node, "Expected a block for ${section.name}")
            return []
        }
        statements(section.body).collect { statement ->
            Section one = Section.of(statement)
            if (one?.name != name || !one.body) {
                error(statement, "Expected a block for ${name}")
                return null
            }
            one
        }.findAll()
    }

    private List<Axis> axes(Section section, String kind) {
        List<Axis> axes = blocks(section, 'axis').collect { axis(it, kind) }.findAll()
        if (statements(section.body ?: new BlockStatement()).empty) { error(section.node, 'No axis directives specified') }
        List<String> names = axes*.name
        names.findAll { names.count(it) > 1 }.unique().each { error(section.node, "Duplicate axis name: \"${it}\"") }
        axes
    }

    private Axis axis(Section section, String kind) {
        Map<String, Section> parts = sections(section, kind)
        Section values = parts.values ?: parts.notValues
        if (parts.values && parts.notValues) { error(section.node, 'Exclude axis must contain either "values" or "notValues"') }
        if (!parts.name) { error(section.node, 'Missing required section "name"') }
        if (!values?.arguments) { error(section.node, 'Missing required section "values"') }
        if (!parts.name || !values) { return null }
        String name = parts.name.arguments ? parts.name.arguments[0].text : ''
        if (!(name ==~ /[A-Za-z_][A-Za-z0-9_]*/)) {
            error(parts.name.node, "\"${name}\" is not a valid identifier and cannot be used for an environment variable. " +
                'Identifiers must start with a letter or underscore and can contain only letters, numbers or underscores.')
        }
        values.arguments.findAll { !(it instanceof ConstantExpression) }.each { error(it, "Expected string literal but got ${text(it)}") }
        List<String> texts = values.arguments*.text
        texts.findAll { texts.count(it) > 1 }.unique().each { error(values.node, "Duplicate axis value: \"${it}\"") }
        new Axis(name: name, values: texts, inverse: parts.notValues != null)
    }

    private Expression tools(Section section) {
        if (section == null) { return null }
        if (!section.body) {
            error(section.node, 'Expected a block for tools')
            return null
        }
        List<Section> tools = statements(section.body).collect { statement ->
            Section tool = Section.of(statement)
            if (tool == null || tool.arguments.size() != 1) {
                error(statement, 'Expected to find ‘someTool "someVersion"’')
                return null
            }
            checkTool(tool)
            tool
        }.findAll()
        if (tools.empty) { error(section.node, 'No tools specified') }
        map(tools.collectEntries { [it.name, value(it.arguments[0], it.node)] })
    }

    private void checkTool(Section tool) {
        Map known = installation.tools as Map ?: [:]
        Expression version = tool.arguments[0]
        boolean literal = version instanceof ConstantExpression
        String name = literal ? version.text : 'NAME'
        if (!known.containsKey(tool.name)) {
            noteUnsupported(tool.node, "the tool ${tool.name} '${name}' is not configured in this scenario: tools={'${tool.name}': ['${name}']}, or --tool ${tool.name}=${name}")
        } else if (literal && !(known[tool.name] as Map).containsKey(name)) {
            String nearest = Text.nearest(name, (known[tool.name] as Map).keySet())
            error(version, "Tool type \"${tool.name}\" does not have an install of \"${name}\" configured - did you mean \"${nearest}\"?")
        }
    }

    private Expression libraries(Section section) {
        if (section == null) { return null }
        List<Expression> libraries = statements(section.body ?: new BlockStatement()).collect { statement ->
            Section library = Section.of(statement)
            if (library?.name != 'lib' || library.body || library.arguments.size() != 1) {
                error(statement, "Expected a \"lib(...)\" but got ${text(statement)}")
                return null
            }
            value(library.arguments[0], library.node)
        }.findAll()
        if (libraries.empty) { error(section.node, 'libraries can not be empty') }
        list(libraries)
    }

    private Expression truth(Section flag) {
        Expression value = flag.arguments ? flag.arguments[0] : null
        if (value instanceof ConstantExpression && value.value instanceof Boolean) { return value }
        error(flag.node, "Expected a boolean with ${flag.name}")
        ConstantExpression.FALSE
    }

    /** The sections of a block by name; unknown and repeated ones are errors. */
    private Map<String, Section> sections(Section outer, String kind) {
        Map<String, Section> parts = [:]
        statements(outer.body).each { statement ->
            Section section = Section.of(statement)
            Expression call = statement instanceof ExpressionStatement ? statement.expression : null
            if (section == null && kind == 'stage' && call instanceof MethodCallExpression && call.objectExpression instanceof MethodCallExpression) {
                error(statement, 'Expected a symbol')
                error(outer.node, unknownSection(kind, 'error'))
            } else if (section == null) {
                error(statement, "Not a valid ${kind == 'stage' ? 'stage section' : 'section'} definition: \"${text(statement)}\". Some extra configuration is required.")
            } else if (kind == 'pipeline' && RENAMED[section.name]) {
                error(section.node, RENAMED[section.name])
            } else if (!(section.name in SECTIONS[kind])) {
                error(section.node, unknownSection(kind, section.name))
            } else if (!section.body && kind in ['pipeline', 'stage', 'matrix'] && !(section.name in ['agent', 'failFast'])) {
                error(section.node, "Expected a block for ${section.name}")
            } else if (parts[section.name]) {
                error(section.node, "Multiple occurrences of the ${section.name} section")
            } else {
                parts[section.name] = section
            }
        }
        parts
    }

    private static String unknownSection(String kind, String name) {
        switch (kind) {
            case 'input': return "Not a valid field for input: \"${name}\""
            case 'stage': return "Unknown stage section \"${name}\". Starting with version 0.5, steps in a stage must be in a ‘steps’ block."
            default: return "Undefined section \"${name}\""
        }
    }

    private Expression agent(Section section) {
        if (!section.body) {
            Expression type = section.arguments ? section.arguments[0] : null
            String name = type instanceof VariableExpression ? type.name : null
            if (!(name in ['any', 'none'])) {
                error(section.node, 'Only "agent none", "agent any" or "agent {...}" are allowed.')
                return null
            }
            return map([type: new ConstantExpression(name)])
        }
        List<Section> inner = statements(section.body).collect { named(it, AGENTS.keySet() + ['any', 'none'] as List, [kubernetes: 'kubernetes'], 'agent type') }.findAll()
        if (statements(section.body).size() != 1) {
            error(section.node, inner ? 'Only one agent type is allowed per agent section' : "No agent type specified. Must be one of ${AGENTS.keySet().sort()}")
        }
        if (inner.size() != 1) { return null }
        Section type = inner[0]
        if (type.name in ['any', 'none']) { return map([type: new ConstantExpression(type.name)]) }
        Map<String, Expression> values = type.body ? agentOptions(type) : [:]
        if (!type.body && type.arguments) {
            values[type.name == 'docker' ? 'image' : type.name == 'dockerfile' ? 'dockerfile' : 'label'] = type.arguments[0]
        }
        map([type: new ConstantExpression(type.name == 'node' ? 'label' : type.name), values: value(map(values), section.node)])
    }

    private Map<String, Expression> agentOptions(Section type) {
        Map<String, Expression> values = [:]
        statements(type.body).each { statement ->
            Section option = Section.of(statement)
            if (option == null || option.name in AGENTS[type.name] && !option.arguments && !option.body) {
                error(statement, 'Expected to find ‘someKey "someValue"’')
            } else if (!(option.name in AGENTS[type.name])) {
                error(option.node, "Invalid config option \"${option.name}\" for agent type \"${type.name}\". Valid config options are ${AGENTS[type.name]}")
            } else {
                values[option.name] = option.body ? nested(option) : option.arguments[0]
            }
        }
        REQUIRED[type.name]?.each { if (!values[it]) { error(type.node, "Missing required parameter for agent type \"${type.name}\": ${it}") } }
        values
    }

    /** `containerTemplate { name 'x' … }`. */
    private Expression nested(Section section) {
        map(statements(section.body).collect { Section.of(it) }.findAll { it?.arguments }.collectEntries { [it.name, it.arguments[0]] })
    }

    private Expression environment(Section section) {
        if (section == null) { return null }
        Set<String> names = [] as Set
        if (statements(section.body).empty) { error(section.node, 'No variables specified for environment') }
        list(statements(section.body).collect { statement ->
            Expression expression = statement instanceof ExpressionStatement ? statement.expression : null
            if (!(expression instanceof BinaryExpression) || expression.operation.text != '=' || !(expression.leftExpression instanceof VariableExpression)) {
                error(statement, "\"${text(statement)}\" is not a valid environment expression. Use \"key = value\" pairs with valid Java/shell keys.")
                return null
            }
            Expression right = expression.rightExpression
            if (!textual(right)) {
                error(right, 'Environment variable values must either be single quoted, double quoted, or function calls.')
                return null
            }
            String name = (expression.leftExpression as VariableExpression).name
            if (!names.add(name)) { error(statement, "Duplicate environment variable name: \"${name}\"") }
            boolean credentials = right instanceof MethodCallExpression && right.implicitThis && right.methodAsString == 'credentials'
            Expression argument = credentials ? (right.arguments as TupleExpression).expressions[0] : right
            map([name: new ConstantExpression((expression.leftExpression as VariableExpression).name),
                 credentials: new ConstantExpression(credentials), value: value(argument, expression)])
        }.findAll())
    }

    private static boolean textual(Expression value) {
        switch (value) {
            case ConstantExpression: return value.value != null
            case BinaryExpression: return value.operation.text == '+' && textual(value.leftExpression) && textual(value.rightExpression)
            case GStringExpression: case MethodCallExpression: return true
            default: return false
        }
    }

    private Expression options(Section section, List<String> known, Map<String, String> ofPlugins) {
        if (section == null) { return null }
        List<Section> options = statements(section.body).collect { statement ->
            Section option = Section.of(statement)
            if (option?.name in ['parameters', 'pipelineTriggers']) {
                String directive = option.name == 'parameters' ? 'parameters' : 'triggers'
                error(statement, "The \"${directive}\" job property can't be used in the \"options\" directive. Use the \"${directive} {...}\" directive instead.")
                return null
            }
            named(statement, known, ofPlugins, 'option')
        }.findAll()
        if (statements(section.body).empty) { error(section.node, 'options can not be empty') }
        checkDuplicates(section, options, 'option')
        options.each { checkCall(it) }
        list(options.collect { map([name: new ConstantExpression(it.name), values: value(list(it.arguments), it.node)]) })
    }

    private Expression describables(Section section, List<String> known, Map<String, String> ofPlugins, String what) {
        if (section == null) { return null }
        List<Section> values = statements(section.body).collect { named(it, known, ofPlugins, what) }.findAll()
        if (statements(section.body).empty) { error(section.node, "${section.name} can not be empty") }
        if (what == 'trigger') { checkDuplicates(section, values, what) }
        values.each { checkCall(it) }
        list(values.collect { value(it.node as Expression, it.node) })
    }

    private void checkCall(Section call) {
        StepModel model = StepModel.DESCRIBABLES[call.name] ?: (Steps.isInstalled(call.name, installation.plugins as List) ? StepModel.ALL[call.name] : null)
        if (model != null) { arguments.checkCall(call.name, model, call.arguments, call.node) }
    }

    private void checkDuplicates(Section section, List<Section> calls, String what) {
        List<String> names = calls*.name
        names.findAll { names.count(it) > 1 }.unique().each { error(section.node, "Duplicate ${what} name: \"${it}\"") }
    }

    private Expression input(Section section) {
        if (section == null) { return null }
        if (!section.body) {
            error(section.node, 'Expected a block for input')
            return null
        }
        Map<String, Section> parts = sections(section, 'input')
        if (!parts.message) { error(section.node, 'No message specified for input') }
        Map<String, Expression> values = parts.findAll { it.key != 'parameters' }.collectEntries { name, option -> [name, option.arguments[0]] }
        map([values: value(map(values), section.node), parameters: describables(parts.parameters, PARAMETERS, PLUGIN_PARAMETERS, 'parameter')])
    }

    private Expression when(Section section) {
        if (section == null) { return null }
        Map<String, Expression> flags = [:]
        List<Expression> conditions = []
        statements(section.body).each { statement ->
            Section condition = Section.of(statement)
            if (condition?.name in WHEN_FLAGS) {
                flags[condition.name] = truth(condition)
            } else {
                conditions << this.condition(statement)
            }
        }
        if (conditions.empty) { error(section.node, 'Empty when closure, remove the property or add some content.') }
        map(flags + [conditions: list(conditions.findAll())])
    }

    private Expression condition(Statement statement) {
        Section section = named(statement, WHEN + WHEN_NESTED + ['expression'], [:], 'when condition')
        if (section == null) { return null }
        if (section.body && !(section.name in WHEN_NESTED + ['expression'])) {
            error(section.node, "No children when conditions are allowed for when condition \"${section.name}\".")
            return null
        }
        if (!section.body && section.name in WHEN_NESTED + ['expression']) {
            error(section.node, "Nested when condition \"${section.name}\" requires at least one child condition.")
            return null
        }
        Expression kind = new ConstantExpression(section.name)
        if (section.name == 'expression') { return map([kind: kind, body: section.closure]) }
        if (section.name in WHEN_NESTED) {
            if (section.arguments) { error(section.node, "No additional arguments are allowed for children when condition \"${section.name}\".") }
            List<Expression> inner = statements(section.body).collect { condition(it) }.findAll()
            int size = statements(section.body).size()
            if (section.name == 'not' && size != 1) { error(section.node, 'Nested when condition "not" requires exactly 1 child condition(s).') }
            if (size == 0 && section.name != 'not') { error(section.node, "Nested when condition \"${section.name}\" requires at least one child condition.") }
            return map([kind: kind, conditions: list(inner)])
        }
        arguments.check(section.name, StepModel.CONDITIONS[section.name], section.arguments, section.node)
        map([kind: kind, values: value(list(section.arguments), section.node)])
    }

    private Expression post(Section section) {
        if (section == null) { return null }
        Map<String, Expression> parts = [:]
        statements(section.body).each { statement ->
            Section condition = Section.of(statement)
            if (condition == null || !condition.body) {
                error(statement, "The ‘post’ section can only contain build condition names with code blocks. Valid condition names are ${POST}")
            } else if (!(condition.name in POST)) {
                error(statement, "Invalid condition \"${condition.name}\" - valid conditions are ${POST}")
            } else if (parts[condition.name]) {
                error(section.node, "Duplicate build condition name: \"${condition.name}\"")
            } else {
                parts[condition.name] = steps(condition)
            }
        }
        if (statements(section.body).empty) { error(section.node, 'post can not be empty') }
        map(parts)
    }

    private Expression steps(Section section) {
        if (!section.body) {
            error(section.node, "Expected a block for ${section.name}")
            return null
        }
        if (statements(section.body).empty) { invalid(section.node, 'No steps specified for branch') }
        boolean branches = statements(section.body).size() == 1 && Section.of(statements(section.body)[0])?.name == 'parallel'
        if (!branches) { checkSteps(section.body) }
        section.closure
    }

    private void checkSteps(BlockStatement block) {
        statements(block).each { statement ->
            Expression call = statement instanceof ExpressionStatement ? statement.expression : null
            if (call instanceof MethodCallExpression) {
                checkStep(Section.ofCall(call), statement)
            } else {
                error(statement, 'Expected a step')
            }
        }
    }

    /** Check a call; as in Jenkins, one that is not a step is checked as `error`. */
    private void checkStep(Section step, Statement statement) {
        MethodCallExpression call = step.node as MethodCallExpression
        Expression receiver = call.objectExpression
        boolean variable = receiver instanceof VariableExpression && !isClass(receiver.name)
        if (!(variable && (receiver as VariableExpression).thisExpression) || step.name == null) {
            boolean ofObject = variable && !(receiver as VariableExpression).thisExpression
            error(statement, ofObject ? 'Method calls on objects not allowed outside "script" blocks.' : 'Expected a symbol')
            if (step.body) { return }
            step.name = 'error'
        }
        if (step.name == 'script') {
            if (!step.body) { error(statement, 'Script step without a block') }
            return
        }
        boolean known = StepModel.ALL.containsKey(step.name) && Steps.isInstalled(step.name, installation.plugins as List)
        if (known) { arguments.check(step.name, StepModel.ALL[step.name], step.arguments, statement, Steps.takesBody(step.name)) }
        if (BLOCKED_STEPS[step.name]) { invalid(statement, "Invalid step \"${step.name}\" used - not allowed in this context - ${BLOCKED_STEPS[step.name]}") }
        if (step.body) { checkSteps(step.body) }
    }

    /** Whether a name is a class that Groovy imports by default. */
    private static boolean isClass(String name) {
        ResolveVisitor.DEFAULT_IMPORTS.any { String of ->
            try {
                return Class.forName(of + name, false, DeclarativeParser.classLoader) != null
            } catch (ClassNotFoundException | NoClassDefFoundError ignored) {
                return false
            }
        }
    }

    /** A section whose name a plugin may add: one that is unknown here is unsupported, not an error of the pipeline. */
    private Section named(Statement statement, List<String> known, Map<String, String> ofPlugins, String what) {
        Section section = Section.of(statement)
        if (section == null) {
            error(statement, "Expected ${what == 'option' ? 'an' : 'a'} ${what}")
        } else if (section.body && BLOCKLESS[what]) {
            error(statement, BLOCKLESS[what])
            return null
        } else if (known == STAGE_OPTIONS && section.name in OPTIONS && !(section.name in STAGE_OPTIONS)) {
            error(statement, "Invalid option type \"${section.name}\". Valid option types: ${STAGE_OPTIONS}")
            return null
        } else if (ofPlugins[section.name] && !(ofPlugins[section.name] in (installation.plugins as List))) {
            String plugin = ofPlugins[section.name]
            noteUnsupported(section.node, "the ${what} '${section.name}' needs the plugin ${plugin}, which is not installed in this scenario: " +
                "plugins=['${plugin}'], or --plugin ${plugin}")
            return null
        } else if (!(section.name in known) && !ofPlugins[section.name]) {
            List<String> all = (known + ofPlugins.keySet()).unique().sort()
            noteUnsupported(section.node, "the ${what} '${section.name}' is not supported by pytest-jenkinsfile; supported: ${all}")
            return null
        }
        section
    }

    /** Record a feature of Jenkins or of a plugin that this harness does not support. */
    private void noteUnsupported(ASTNode node, String what) { findings.unsupported << "${source.name}:${node.lineNumber}: ${what}".toString() }

    private void invalid(ASTNode node, String message) { invalid << { -> error(node, message) } }

    /** Groovy stops after ten errors. */
    private void error(ASTNode node, String message) {
        source.errorCollector.addError(new SyntaxErrorMessage(new SyntaxException(message, node.lineNumber, node.columnNumber), source))
    }

    private String text(ASTNode node) { (source.getSample(node.lineNumber, 0, null) ?: '').readLines().find()?.trim() ?: '' }

    private static List<Statement> statements(BlockStatement block) { block == null ? [] : block.statements.findAll { !(it instanceof EmptyStatement) } }

    private static ClosureExpression value(Expression expression, ASTNode at) { closure(new ExpressionStatement(expression), at) }

    private static ClosureExpression closure(Statement statement, ASTNode at) {
        ClosureExpression closure = new ClosureExpression(Parameter.EMPTY_ARRAY, new BlockStatement([statement], new VariableScope()))
        closure.variableScope = new VariableScope()
        statement.sourcePosition = at
        closure.sourcePosition = at
        closure
    }

    private static MapExpression map(Map<String, Expression> entries) {
        new MapExpression(entries.findAll { it.value != null }.collect { key, value -> new MapEntryExpression(new ConstantExpression(key), value) })
    }

    private static ListExpression list(List<Expression> items) { new ListExpression(items.collect { plain(it) }) }

    /** Named arguments in a list are a map. */
    private static Expression plain(Expression item) { item instanceof NamedArgumentListExpression ? new MapExpression(item.mapEntryExpressions) : item }
}

/** A statement of the form `name arguments { body }`. */
class Section {
    String name
    List<Expression> arguments
    ClosureExpression closure
    ASTNode node

    BlockStatement getBody() { closure?.code as BlockStatement }

    static Section of(Statement statement) {
        Expression call = statement instanceof ExpressionStatement ? statement.expression : null
        call instanceof MethodCallExpression && call.implicitThis && call.methodAsString != null ? ofCall(call) : null
    }

    static Section ofCall(MethodCallExpression call) {
        List<Expression> arguments = call.arguments instanceof TupleExpression ? new ArrayList((call.arguments as TupleExpression).expressions) : [call.arguments]
        Expression last = arguments ? arguments.last() : null
        ClosureExpression closure = last instanceof ClosureExpression ? arguments.remove(arguments.size() - 1) as ClosureExpression : null
        new Section(name: call.methodAsString, arguments: arguments, closure: closure, node: call)
    }
}

/** An axis of a matrix or of an exclude; with `inverse` it selects all other values. */
class Axis {
    String name
    List<String> values
    boolean inverse
}
