package jenkinsfile

import com.cloudbees.groovy.cps.CpsTransformer
import com.cloudbees.groovy.cps.sandbox.DefaultInvoker
import com.cloudbees.groovy.cps.sandbox.Invoker
import org.codehaus.groovy.ast.ClassHelper
import org.codehaus.groovy.ast.ClassNode
import org.codehaus.groovy.ast.expr.ArgumentListExpression
import org.codehaus.groovy.ast.expr.ClassExpression
import org.codehaus.groovy.ast.expr.ConstantExpression
import org.codehaus.groovy.ast.expr.ConstructorCallExpression
import org.codehaus.groovy.ast.expr.Expression
import org.codehaus.groovy.ast.expr.ListExpression
import org.codehaus.groovy.ast.expr.MapEntryExpression
import org.codehaus.groovy.ast.expr.MapExpression
import org.codehaus.groovy.ast.expr.MethodCallExpression
import org.codehaus.groovy.ast.expr.SpreadExpression
import org.codehaus.groovy.ast.expr.SpreadMapExpression
import org.codehaus.groovy.ast.expr.StaticMethodCallExpression
import org.codehaus.groovy.ast.expr.TupleExpression
import org.codehaus.groovy.runtime.InvokerHelper
import org.codehaus.groovy.runtime.typehandling.DefaultTypeTransformation

/** Spread operators of lists, maps and arguments, which groovy-cps 1.31 lacks and the version in Jenkins has. */
class Spread {
    /** The elements of the operand of `*`. */
    static List elements(Object value) {
        if (value == null) { return [null] }
        if (value instanceof List) { return value }
        if (value.getClass().array) { return DefaultTypeTransformation.primitiveArrayToList(value) }
        String hint = value instanceof Map ? ', did you mean to use the spread-map operator instead?' : ''
        throw new IllegalArgumentException("cannot spread the type ${value.getClass().name} with value ${value}${hint}")
    }

    static List list(List<List> parts) { parts.inject([]) { all, part -> all + part } as List }

    static Map map(List parts) {
        Map all = new LinkedHashMap()
        parts.each { all.putAll(it instanceof Map ? it : InvokerHelper.spreadMap(it)) }
        all
    }

    static Object call(Object receiver, Object method, boolean safe, List arguments) {
        dispatch(new DefaultInvoker(), receiver, method, safe, arguments)
    }

    static Object construct(Class type, List arguments) { new DefaultInvoker().constructorCall(type, arguments.toArray()) }

    static Object dispatch(Invoker invoker, Object receiver, Object method, boolean safe, List arguments) {
        safe && receiver == null ? null : invoker.methodCall(receiver, method.toString(), arguments.toArray())
    }
}

/** Builds the trees of CPS code, including spread operators. */
class PipelineTransformer extends CpsTransformer {
    protected static final ClassNode SPREAD = ClassHelper.make(Spread)

    @Override
    void visitListExpression(ListExpression list) {
        hasSpread(list.expressions) ? visit(concatenation(list.expressions)) : super.visitListExpression(list)
    }

    @Override
    void visitMapExpression(MapExpression map) {
        if (!map.mapEntryExpressions.any { it.keyExpression instanceof SpreadMapExpression }) {
            super.visitMapExpression(map)
            return
        }
        visit(spread('map', new ListExpression(map.mapEntryExpressions.collect { MapEntryExpression entry ->
            entry.keyExpression instanceof SpreadMapExpression ? entry.valueExpression : new MapExpression([entry])
        })))
    }

    @Override
    void visitMethodCallExpression(MethodCallExpression invocation) {
        List<Expression> arguments = argumentsOf(invocation.arguments)
        if (invocation.spreadSafe || !hasSpread(arguments)) {
            super.visitMethodCallExpression(invocation)
            return
        }
        makeNode('staticCall', {
            loc(invocation)
            literal(SPREAD)
            literal('call')
            invocation.implicitThis && invocation.objectExpression.text == 'this' ? makeNode('javaThis_') : visit(invocation.objectExpression)
            visit(invocation.method)
            visit(new ConstantExpression(invocation.safe))
            visit(concatenation(arguments))
        } as Runnable)
    }

    @Override
    void visitStaticMethodCallExpression(StaticMethodCallExpression invocation) {
        List<Expression> arguments = argumentsOf(invocation.arguments)
        if (!hasSpread(arguments)) {
            super.visitStaticMethodCallExpression(invocation)
            return
        }
        visit(spread('call', new ClassExpression(invocation.ownerType), new ConstantExpression(invocation.method), ConstantExpression.FALSE, concatenation(arguments)))
    }

    @Override
    void visitConstructorCallExpression(ConstructorCallExpression invocation) {
        List<Expression> arguments = argumentsOf(invocation.arguments)
        if (invocation.specialCall || !hasSpread(arguments)) {
            super.visitConstructorCallExpression(invocation)
            return
        }
        visit(spread('construct', new ClassExpression(invocation.type), concatenation(arguments)))
    }

    protected static List<Expression> argumentsOf(Expression arguments) { arguments instanceof TupleExpression ? arguments.expressions : [arguments] }

    protected static boolean hasSpread(List<Expression> expressions) { expressions.any { it instanceof SpreadExpression } }

    protected static Expression concatenation(List<Expression> expressions) {
        spread('list', new ListExpression(expressions.collect { Expression one ->
            one instanceof SpreadExpression ? spread('elements', one.expression) : new ListExpression([one])
        }))
    }

    protected static Expression spread(String name, Expression... arguments) {
        new StaticMethodCallExpression(SPREAD, name, new ArgumentListExpression(arguments))
    }
}
