package jenkinsfile

import org.codehaus.groovy.ast.ASTNode
import org.codehaus.groovy.ast.expr.ConstantExpression
import org.codehaus.groovy.ast.expr.Expression
import org.codehaus.groovy.ast.expr.MapEntryExpression
import org.codehaus.groovy.ast.expr.MapExpression
import org.codehaus.groovy.ast.expr.MethodCallExpression
import org.codehaus.groovy.ast.expr.TupleExpression
import org.codehaus.groovy.runtime.ScriptBytecodeAdapter

/** Checks what a Declarative pipeline gives to steps, options, parameters, triggers and conditions, as Jenkins does before a build starts. */
class StepArguments {
    private final Closure report

    /** `report` takes the place and the words of what is wrong. */
    StepArguments(Closure report) { this.report = report }

    /** The arguments of a step, without its body. */
    void check(String name, StepModel model, List<Expression> given, ASTNode step, boolean takesBody = false) {
        if (given.size() > 1) {
            report(step, "Arguments to \"${name}\" must be explicitly named.")
        } else if (given.empty || isNamed(given[0])) {
            named(model, given ? (given[0] as MapExpression).mapEntryExpressions : [], step, takesBody)
        } else if (takesBody || model.soleRequired) {
            literal(given[0], model.soleRequired == null ? null : model.parameters[model.soleRequired])
        } else {
            report(step, 'Step does not take a single required parameter - use named parameters instead')
        }
    }

    /** A call such as `logRotator(numToKeepStr: '5')`. */
    void checkCall(String name, StepModel model, List<Expression> given, ASTNode call) {
        List<MapExpression> maps = given.findAll { it instanceof MapExpression } as List<MapExpression>
        if (maps) {
            if (maps.size() < given.size()) {
                report(call, 'Cannot mix named and unnamed arguments')
                return
            }
            maps*.mapEntryExpressions.flatten().each { MapEntryExpression entry ->
                if (isKnown(model, entry)) { value(entry.valueExpression, model.parameters[entry.keyExpression.text], entry.keyExpression.text) }
            }
        } else if (given.size() > 1) {
            report(call, "Arguments to \"${name}\" must be explicitly named.")
        } else if (given.size() != model.required.size()) {
            boolean flag = given.empty && model.required.size() == 1 && model.parameters[model.required[0]] == Boolean
            if (!flag) { report(call, "\"${name}\" should have ${model.required.size()} arguments but has ${given.size()} arguments instead.") }
        } else {
            given.each { value(it, model.parameters[model.required[0]], null) }
        }
    }

    private void value(Expression given, Object wanted, String key) {
        if (!(given instanceof MethodCallExpression)) {
            literal(given, wanted, key)
            return
        }
        StepModel model = given.implicitThis ? StepModel.DESCRIBABLES[given.methodAsString] : null
        if (model != null && given.arguments instanceof TupleExpression) {
            checkCall(given.methodAsString, model, (given.arguments as TupleExpression).expressions, given)
        }
    }

    /** What names its class is one value. */
    private static boolean isNamed(Expression given) {
        given instanceof MapExpression && !given.mapEntryExpressions.any { it.keyExpression.text == '$class' }
    }

    private void named(StepModel model, List<MapEntryExpression> given, ASTNode step, boolean takesBody) {
        boolean valid = true
        Object sole = model.soleRequired == null ? null : model.parameters[model.soleRequired]
        boolean nested = false
        given.each { entry ->
            String key = entry.keyExpression.text
            if (!model.parameters.containsKey(key) && sole instanceof StepModel) {
                nested = true
                named(sole, given, step, false)
            } else if (!isKnown(model, entry)) {
                valid = false
            } else {
                boolean alone = given.size() == 1 && key == model.soleRequired && !takesBody
                valid &= literal(entry.valueExpression, model.parameters[key], alone ? null : key)
            }
        }
        if (valid && !nested) {
            (model.required - given*.keyExpression*.text).each { report(step, "Missing required parameter: \"${it}\"") }
        }
    }

    private boolean isKnown(StepModel model, MapEntryExpression entry) {
        String key = entry.keyExpression.text
        boolean known = model.parameters.containsKey(key)
        if (!known) { report(entry.keyExpression, "Invalid parameter \"${key}\", did you mean \"${Text.nearest(key, model.parameters.keySet())}\"?") }
        known
    }

    /** Only what is written out is checked. */
    private boolean literal(Expression given, Object wanted, String key = null) {
        if (!(given instanceof ConstantExpression) || fits(number(given.value), wanted)) { return true }
        Object value = number(given.value)
        String type = wanted instanceof StepModel ? "class ${wanted.type}" : String.valueOf(wanted)
        report(given, "Expecting \"${type}\"${key == null ? '' : " for parameter \"${key}\""} but got \"${value}\" of type ${value.class} instead")
        false
    }

    private static Object number(Object value) { value instanceof BigDecimal ? value.doubleValue() : value }

    private static boolean fits(Object value, Object wanted) {
        if (value == null) { return true }
        if (!(wanted instanceof Class)) { return false }
        if (wanted == String && (value instanceof Integer || value instanceof Boolean)) { return false }
        if (wanted == int && (value instanceof String || value instanceof Boolean)) { return false }
        try {
            ScriptBytecodeAdapter.castToType(value, wanted)
            return true
        } catch (Exception ignored) {
            return false
        }
    }
}
