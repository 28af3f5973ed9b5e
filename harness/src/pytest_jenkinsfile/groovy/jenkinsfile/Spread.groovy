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

/** What the spread operators give: groovy-cps 1.31 has none, Jenkins' own version has those of lists, maps and arguments. */
class Spread {
    /** The elements of an operand of `*`. */
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

/** Builds the trees of CPS code, those of spread operators too. */
class PipelineTransformer extends CpsTransformer {
    protected static final ClassNode SPREAD = ClassHelper.make(Spread)

    @Override
    void visitListExpression(ListExpression list) {
        spreads(list.expressions) ? visit(joined(list.expressions)) : super.visitListExpression(list)
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
    void visitMethodCallExpression(MethodCallExpression called) {
        List<Expression> arguments = argumentsOf(called.arguments)
        if (called.spreadSafe || !spreads(arguments)) {
            super.visitMethodCallExpression(called)
            return
        }
        makeNode('staticCall', {
            loc(called)
            literal(SPREAD)
            literal('call')
            called.implicitThis && called.objectExpression.text == 'this' ? makeNode('javaThis_') : visit(called.objectExpression)
            visit(called.method)
            visit(new ConstantExpression(called.safe))
            visit(joined(arguments))
        } as Runnable)
    }

    @Override
    void visitStaticMethodCallExpression(StaticMethodCallExpression called) {
        List<Expression> arguments = argumentsOf(called.arguments)
        if (!spreads(arguments)) {
            super.visitStaticMethodCallExpression(called)
            return
        }
        visit(spread('call', new ClassExpression(called.ownerType), new ConstantExpression(called.method), ConstantExpression.FALSE, joined(arguments)))
    }

    @Override
    void visitConstructorCallExpression(ConstructorCallExpression called) {
        List<Expression> arguments = argumentsOf(called.arguments)
        if (called.specialCall || !spreads(arguments)) {
            super.visitConstructorCallExpression(called)
            return
        }
        visit(spread('construct', new ClassExpression(called.type), joined(arguments)))
    }

    protected static List<Expression> argumentsOf(Expression arguments) { arguments instanceof TupleExpression ? arguments.expressions : [arguments] }

    protected static boolean spreads(List<Expression> expressions) { expressions.any { it instanceof SpreadExpression } }

    protected static Expression joined(List<Expression> expressions) {
        spread('list', new ListExpression(expressions.collect { Expression one ->
            one instanceof SpreadExpression ? spread('elements', one.expression) : new ListExpression([one])
        }))
    }

    protected static Expression spread(String name, Expression... arguments) {
        new StaticMethodCallExpression(SPREAD, name, new ArgumentListExpression(arguments))
    }
}
