package jenkinsfile

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
import org.codehaus.groovy.control.SourceUnit
import org.codehaus.groovy.control.customizers.CompilationCustomizer
import org.codehaus.groovy.control.messages.SyntaxErrorMessage
import org.codehaus.groovy.syntax.SyntaxException

/**
 * Turns `pipeline { … }` into a model (maps, lists and closures) that `ModelInterpreter` runs, before CPS.
 * What is not in the published syntax is refused by name and line.
 */
class DeclarativeParser extends CompilationCustomizer {
    static final Map<String, List<String>> SECTIONS = [
        pipeline: ['agent', 'environment', 'options', 'parameters', 'post', 'stages', 'triggers'],
        stage: ['agent', 'environment', 'failFast', 'input', 'options', 'parallel', 'post', 'stages', 'steps', 'when'],
        input: ['id', 'message', 'ok', 'parameters', 'submitter', 'submitterParameter'],
    ]
    static final List<String> POST = ['always', 'changed', 'fixed', 'regression', 'aborted', 'success', 'unsuccessful', 'unstable', 'failure', 'notBuilt', 'cleanup']
    static final List<String> WHEN_FLAGS = ['beforeAgent', 'beforeInput', 'beforeOptions']
    static final List<String> WHEN_NESTED = ['allOf', 'anyOf', 'not']
    static final List<String> WHEN = ['branch', 'buildingTag', 'changeRequest', 'environment', 'equals', 'tag', 'triggeredBy']
    static final List<String> WRAPPERS = ['ansiColor', 'lock', 'retry', 'timeout', 'timestamps', 'withChecks']
    static final List<String> OPTIONS = WRAPPERS + ['buildDiscarder', 'disableConcurrentBuilds', 'disableRestartFromStage', 'disableResume',
        'durabilityHint', 'newContainerPerStage', 'overrideIndexTriggers', 'parallelsAlwaysFailFast', 'preserveStashes', 'quietPeriod',
        'rateLimitBuilds', 'skipDefaultCheckout', 'skipStagesAfterUnstable']
    static final List<String> STAGE_OPTIONS = WRAPPERS + ['skipDefaultCheckout']
    static final Map<String, List<String>> AGENTS = [
        label: ['label', 'customWorkspace'], node: ['label', 'customWorkspace'],
        docker: ['alwaysPull', 'args', 'customWorkspace', 'image', 'label', 'registryCredentialsId', 'registryUrl', 'reuseNode'],
        dockerfile: ['additionalBuildArgs', 'args', 'customWorkspace', 'dir', 'filename', 'label', 'registryCredentialsId', 'registryUrl', 'reuseNode'],
    ]
    static final List<String> TRIGGERS = ['cron', 'githubPush', 'pollSCM', 'upstream']
    static final List<String> PARAMETERS = ['booleanParam', 'choice', 'file', 'password', 'run', 'string', 'text']

    private final Found found
    private final Map installation
    private SourceUnit source

    DeclarativeParser(Found found, Map installation) {
        super(CompilePhase.CONVERSION)
        this.found = found
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
            (value instanceof ListExpression ? value.expressions : [value]).each { found.libraries << it.text }
        }
    }

    private Expression pipeline(Section pipeline) {
        Map<String, Section> found = sections(pipeline, 'pipeline')
        ['agent', 'stages'].findAll { !found[it] }.each { error(pipeline.node, "Missing required section \"${it}\"") }
        map([
            agent: found.agent ? agent(found.agent) : null,
            environment: environment(found.environment),
            options: options(found.options, OPTIONS),
            parameters: describables(found.parameters, PARAMETERS, 'parameter'),
            triggers: describables(found.triggers, TRIGGERS, 'trigger'),
            stages: stages(found.stages),
            post: post(found.post),
        ])
    }

    private Expression stages(Section section) {
        if (section == null) { return null }
        if (!section.body) {
            error(section.node, "Expected a block for ${section.name}")
            return null
        }
        List<Expression> found = statements(section.body).collect { statement ->
            Section stage = Section.of(statement)
            if (stage?.name != 'stage') {
                error(statement, 'Expected a stage')
                return null
            }
            this.stage(stage)
        }
        if (found.empty) { error(section.node, 'No stages specified') }
        List<String> names = found.findAll().collect { (it as MapExpression).mapEntryExpressions[0].valueExpression.text }
        names.findAll { names.count(it) > 1 }.unique().each { error(section.node, "Duplicate stage name: \"${it}\"") }
        list(found.findAll())
    }

    private Expression stage(Section stage) {
        Expression name = stage.arguments ? stage.arguments[0] : null
        if (!(name instanceof ConstantExpression) || !(name.value instanceof String)) {
            error(stage.node, 'Expected a stage name but didn\'t find any')
            return null
        }
        if (!stage.body) {
            error(stage.node, 'Expected a block for stage')
            return null
        }
        Map<String, Section> found = sections(stage, 'stage')
        List<String> content = ['steps', 'stages', 'parallel'].findAll { found[it] }
        if (content.size() != 1) {
            error(stage.node, "Expected one of \"steps\", \"stages\", or \"parallel\" for stage \"${name.value}\"")
        }
        if (found.parallel && found.agent) { error(found.agent.node, "\"agent\" is not allowed in stage \"${name.value}\" as it contains parallel stages") }
        map([
            name: name,
            agent: found.agent ? agent(found.agent) : null,
            environment: environment(found.environment),
            options: options(found.options, STAGE_OPTIONS),
            input: input(found.input),
            when: when(found.when),
            failFast: found.failFast ? found.failFast.arguments[0] : null,
            parallel: stages(found.parallel),
            stages: stages(found.stages),
            steps: found.steps ? steps(found.steps) : null,
            post: post(found.post),
        ])
    }

    /** The sections of a block by name; unknown and repeated ones are refused. */
    private Map<String, Section> sections(Section outer, String kind) {
        Map<String, Section> found = [:]
        statements(outer.body).each { statement ->
            Section section = Section.of(statement)
            if (section == null) {
                error(statement, "Not a valid ${kind == 'stage' ? 'stage section' : 'section'} definition: \"${text(statement)}\". Some extra configuration is required.")
            } else if (!(section.name in SECTIONS[kind])) {
                error(section.node, kind == 'stage' ? "Unknown stage section \"${section.name}\". Starting with version 0.5, steps in a stage must be in a ‘steps’ block." :
                    "Undefined section \"${section.name}\"")
            } else if (found[section.name]) {
                error(section.node, "Multiple occurrences of the ${section.name} section")
            } else {
                found[section.name] = section
            }
        }
        found
    }

    private Expression agent(Section section) {
        if (!section.body) {
            Expression type = section.arguments ? section.arguments[0] : null
            String name = type instanceof VariableExpression ? type.name : null
            if (!(name in ['any', 'none'])) { error(section.node, 'Only "any", "none" or a block is allowed for agent') }
            return map([type: new ConstantExpression(name)])
        }
        List<Section> inner = statements(section.body).collect { named(it, AGENTS.keySet() as List, 'agent type') }.findAll()
        if (inner.size() != 1) {
            if (inner) { error(section.node, 'Expected one agent type') }
            return null
        }
        Section type = inner[0]
        Map<String, Expression> values = [:]
        if (type.body) {
            statements(type.body).each { statement ->
                Section option = named(statement, AGENTS[type.name], "option for agent type \"${type.name}\"")
                if (option) { values[option.name] = option.arguments[0] }
            }
        } else if (type.arguments) {
            values[type.name == 'docker' ? 'image' : type.name == 'dockerfile' ? 'dockerfile' : 'label'] = type.arguments[0]
        }
        map([type: new ConstantExpression(type.name == 'node' ? 'label' : type.name), values: value(map(values), section.node)])
    }

    private Expression environment(Section section) {
        if (section == null) { return null }
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
            boolean credentials = right instanceof MethodCallExpression && right.implicitThis && right.methodAsString == 'credentials'
            Expression taken = credentials ? (right.arguments as TupleExpression).expressions[0] : right
            map([name: new ConstantExpression((expression.leftExpression as VariableExpression).name),
                 credentials: new ConstantExpression(credentials), value: value(taken, expression)])
        }.findAll())
    }

    private static boolean textual(Expression value) {
        switch (value) {
            case ConstantExpression: return value.value instanceof String
            case BinaryExpression: return value.operation.text == '+' && textual(value.leftExpression) && textual(value.rightExpression)
            case GStringExpression: case MethodCallExpression: return true
            default: return false
        }
    }

    private Expression options(Section section, List<String> known) {
        if (section == null) { return null }
        list(statements(section.body).collect { statement ->
            Section option = named(statement, known, 'option')
            option ? map([name: new ConstantExpression(option.name), values: value(list(option.arguments), option.node)]) : null
        }.findAll())
    }

    private Expression describables(Section section, List<String> known, String what) {
        if (section == null) { return null }
        list(statements(section.body).collect { statement ->
            Section found = named(statement, known, what)
            found ? value(found.node as Expression, found.node) : null
        }.findAll())
    }

    private Expression input(Section section) {
        if (section == null) { return null }
        if (!section.body) {
            error(section.node, 'Expected a block for input')
            return null
        }
        Map<String, Section> found = sections(section, 'input')
        if (!found.message) { error(section.node, 'Missing required parameter: "message"') }
        Map<String, Expression> values = found.findAll { it.key != 'parameters' }.collectEntries { name, option -> [name, option.arguments[0]] }
        map([values: value(map(values), section.node), parameters: describables(found.parameters, PARAMETERS, 'parameter')])
    }

    private Expression when(Section section) {
        if (section == null) { return null }
        Map<String, Expression> flags = [:]
        List<Expression> conditions = []
        statements(section.body).each { statement ->
            Section found = Section.of(statement)
            if (found?.name in WHEN_FLAGS) {
                flags[found.name] = found.arguments[0]
            } else {
                conditions << condition(statement)
            }
        }
        if (conditions.findAll().empty) { error(section.node, 'Empty when closure, remove the property or add some content.') }
        map(flags + [conditions: list(conditions.findAll())])
    }

    private Expression condition(Statement statement) {
        Section found = named(statement, WHEN + WHEN_NESTED + ['expression'], 'when condition')
        if (found == null) { return null }
        Expression kind = new ConstantExpression(found.name)
        if (found.name == 'expression') { return map([kind: kind, body: found.closure]) }
        if (found.name in WHEN_NESTED) {
            List<Expression> inner = statements(found.body).collect { condition(it) }.findAll()
            if (found.name == 'not' && inner.size() != 1) { error(found.node, '"not" takes exactly one condition') }
            return map([kind: kind, conditions: list(inner)])
        }
        map([kind: kind, values: value(list(found.arguments), found.node)])
    }

    private Expression post(Section section) {
        if (section == null) { return null }
        Map<String, Expression> found = [:]
        statements(section.body).each { statement ->
            Section condition = Section.of(statement)
            if (condition == null || !condition.body || !(condition.name in POST)) {
                error(statement, "Invalid condition \"${condition?.name ?: text(statement)}\" - valid conditions are ${POST}")
            } else {
                found[condition.name] = steps(condition)
            }
        }
        if (found.empty) { error(section.node, 'post can not be empty') }
        map(found)
    }

    private Expression steps(Section section) {
        if (!section.body) {
            error(section.node, "Expected a block for ${section.name}")
            return null
        }
        checkSteps(section.body)
        section.closure
    }

    private void checkSteps(BlockStatement block) {
        statements(block).each { statement ->
            Expression expression = statement instanceof ExpressionStatement ? statement.expression : null
            if (expression instanceof MethodCallExpression && !expression.implicitThis) {
                error(statement, 'Method calls on objects not allowed outside "script" blocks.')
            } else if (!(expression instanceof MethodCallExpression)) {
                error(statement, 'Expected a step')
            } else {
                Section step = Section.of(statement)
                if (step?.body && step.name != 'script') { checkSteps(step.body) }
            }
        }
    }

    private Section named(Statement statement, List<String> known, String what) {
        Section found = Section.of(statement)
        if (found == null || !(found.name in known)) {
            error(statement, "Invalid ${what} \"${found?.name ?: text(statement)}\". Valid here: ${known.sort()}")
            return null
        }
        found
    }

    private void error(ASTNode node, String message) {
        source.errorCollector.addErrorAndContinue(new SyntaxErrorMessage(new SyntaxException(message, node.lineNumber, node.columnNumber), source))
    }

    private String text(ASTNode node) { (source.getSample(node.lineNumber, 0, null) ?: '').readLines().find()?.trim() ?: '' }

    private static List<Statement> statements(BlockStatement block) { block.statements.findAll { !(it instanceof EmptyStatement) } }

    private static ClosureExpression value(Expression expression, ASTNode at) { closure(new ExpressionStatement(expression), at) }

    private static ClosureExpression closure(Statement statement, ASTNode at) {
        ClosureExpression made = new ClosureExpression(Parameter.EMPTY_ARRAY, new BlockStatement([statement], new VariableScope()))
        made.variableScope = new VariableScope()
        statement.sourcePosition = at
        made.sourcePosition = at
        made
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
        if (!(call instanceof MethodCallExpression) || !call.implicitThis || call.methodAsString == null) { return null }
        List<Expression> arguments = call.arguments instanceof TupleExpression ? new ArrayList((call.arguments as TupleExpression).expressions) : [call.arguments]
        Expression last = arguments ? arguments.last() : null
        ClosureExpression closure = last instanceof ClosureExpression ? arguments.remove(arguments.size() - 1) as ClosureExpression : null
        new Section(name: call.methodAsString, arguments: arguments, closure: closure, node: call)
    }
}
