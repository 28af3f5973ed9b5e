package jenkinsfile

import org.codehaus.groovy.ast.ASTNode
import org.codehaus.groovy.ast.expr.ConstantExpression
import org.codehaus.groovy.ast.expr.Expression
import org.codehaus.groovy.ast.expr.MapEntryExpression
import org.codehaus.groovy.ast.expr.MapExpression
import org.codehaus.groovy.ast.expr.MethodCallExpression
import org.codehaus.groovy.ast.expr.TupleExpression
import org.codehaus.groovy.runtime.ScriptBytecodeAdapter

/** Checks the literal arguments of steps, options, parameters, triggers and conditions of a Declarative pipeline, as Jenkins does before a build starts. */
class StepArguments {
    private final Closure report

    /** `report` is called with place and message of each error. */
    StepArguments(Closure report) { this.report = report }

    /** Check the arguments of a step, without its body. */
    void check(String name, StepModel model, List<Expression> arguments, ASTNode step, boolean takesBody = false) {
        if (arguments.size() > 1) {
            report(step, "Arguments to \"${name}\" must be explicitly named.")
        } else if (arguments.empty || isNamed(arguments[0])) {
            named(model, arguments ? (arguments[0] as MapExpression).mapEntryExpressions : [], step, takesBody)
        } else if (takesBody || model.soleRequired) {
            literal(arguments[0], model.soleRequired == null ? null : model.parameters[model.soleRequired])
        } else {
            report(step, 'Step does not take a single required parameter - use named parameters instead')
        }
    }

    /** Check a call such as `logRotator(numToKeepStr: '5')`. */
    void checkCall(String name, StepModel model, List<Expression> arguments, ASTNode call) {
        List<MapExpression> maps = arguments.findAll { it instanceof MapExpression } as List<MapExpression>
        if (maps) {
            if (maps.size() < arguments.size()) {
                report(call, 'Cannot mix named and unnamed arguments')
                return
            }
            maps*.mapEntryExpressions.flatten().each { MapEntryExpression entry ->
                if (isKnown(model, entry)) { value(entry.valueExpression, model.parameters[entry.keyExpression.text], entry.keyExpression.text) }
            }
        } else if (arguments.size() > 1) {
            report(call, "Arguments to \"${name}\" must be explicitly named.")
        } else if (arguments.size() != model.required.size()) {
            boolean flag = arguments.empty && model.required.size() == 1 && model.parameters[model.required[0]] == Boolean
            if (!flag) { report(call, "\"${name}\" should have ${model.required.size()} arguments but has ${arguments.size()} arguments instead.") }
        } else {
            arguments.each { value(it, model.parameters[model.required[0]], null) }
        }
    }

    private void value(Expression expression, Object type, String key) {
        if (!(expression instanceof MethodCallExpression)) {
            literal(expression, type, key)
            return
        }
        StepModel model = expression.implicitThis ? StepModel.DESCRIBABLES[expression.methodAsString] : null
        if (model != null && expression.arguments instanceof TupleExpression) {
            checkCall(expression.methodAsString, model, (expression.arguments as TupleExpression).expressions, expression)
        }
    }

    /** Whether a map holds named arguments; one with `$class` is a single value. */
    private static boolean isNamed(Expression argument) {
        argument instanceof MapExpression && !argument.mapEntryExpressions.any { it.keyExpression.text == '$class' }
    }

    private void named(StepModel model, List<MapEntryExpression> entries, ASTNode step, boolean takesBody) {
        boolean valid = true
        Object sole = model.soleRequired == null ? null : model.parameters[model.soleRequired]
        boolean nested = false
        entries.each { entry ->
            String key = entry.keyExpression.text
            if (!model.parameters.containsKey(key) && sole instanceof StepModel) {
                nested = true
                named(sole, entries, step, false)
            } else if (!isKnown(model, entry)) {
                valid = false
            } else {
                boolean alone = entries.size() == 1 && key == model.soleRequired && !takesBody
                valid &= literal(entry.valueExpression, model.parameters[key], alone ? null : key)
            }
        }
        if (valid && !nested) {
            (model.required - entries*.keyExpression*.text).each { report(step, "Missing required parameter: \"${it}\"") }
        }
    }

    private boolean isKnown(StepModel model, MapEntryExpression entry) {
        String key = entry.keyExpression.text
        boolean known = model.parameters.containsKey(key)
        if (!known) { report(entry.keyExpression, "Invalid parameter \"${key}\", did you mean \"${Text.nearest(key, model.parameters.keySet())}\"?") }
        known
    }

    /** Check a literal; other expressions are accepted. */
    private boolean literal(Expression expression, Object type, String key = null) {
        if (!(expression instanceof ConstantExpression) || fits(number(expression.value), type)) { return true }
        Object value = number(expression.value)
        String typeName = type instanceof StepModel ? "class ${type.type}" : String.valueOf(type)
        report(expression, "Expecting \"${typeName}\"${key == null ? '' : " for parameter \"${key}\""} but got \"${value}\" of type ${value.class} instead")
        false
    }

    private static Object number(Object value) { value instanceof BigDecimal ? value.doubleValue() : value }

    private static boolean fits(Object value, Object type) {
        if (value == null) { return true }
        if (!(type instanceof Class)) { return false }
        if (type == String && (value instanceof Integer || value instanceof Boolean)) { return false }
        if (type == int && (value instanceof String || value instanceof Boolean)) { return false }
        try {
            ScriptBytecodeAdapter.castToType(value, type)
            return true
        } catch (Exception ignored) {
            return false
        }
    }
}
