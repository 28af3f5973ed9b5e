package jenkinsfile

import groovyjarjarasm.asm.Opcodes
import org.codehaus.groovy.ast.ClassHelper
import org.codehaus.groovy.ast.ClassNode
import org.codehaus.groovy.ast.CodeVisitorSupport
import org.codehaus.groovy.ast.FieldNode
import org.codehaus.groovy.ast.MethodNode
import org.codehaus.groovy.ast.expr.BinaryExpression
import org.codehaus.groovy.ast.expr.BooleanExpression
import org.codehaus.groovy.ast.expr.ConstantExpression
import org.codehaus.groovy.ast.expr.Expression
import org.codehaus.groovy.ast.expr.VariableExpression
import org.codehaus.groovy.ast.stmt.BlockStatement
import org.codehaus.groovy.ast.stmt.EmptyStatement
import org.codehaus.groovy.ast.stmt.ExpressionStatement
import org.codehaus.groovy.ast.stmt.IfStatement
import org.codehaus.groovy.ast.stmt.Statement
import org.codehaus.groovy.classgen.GeneratorContext
import org.codehaus.groovy.control.CompilePhase
import org.codehaus.groovy.control.SourceUnit
import org.codehaus.groovy.control.customizers.CompilationCustomizer
import org.codehaus.groovy.syntax.Token
import org.codehaus.groovy.syntax.Types

/** Adds a serialVersionUID; without it Java computes one from all members of a class at every reload. */
class SerialVersion extends CompilationCustomizer {
    private static final String NAME = 'serialVersionUID'

    SerialVersion() { super(CompilePhase.CANONICALIZATION) }

    @Override
    void call(SourceUnit source, GeneratorContext context, ClassNode type) {
        if (type.interface || type.getDeclaredField(NAME)) { return }
        int modifiers = Opcodes.ACC_PRIVATE | Opcodes.ACC_STATIC | Opcodes.ACC_FINAL
        type.addField(NAME, modifiers, ClassHelper.long_TYPE, new ConstantExpression(1L, true))
    }
}

/** Builds the CPS tree of a method at its first call; `CpsTransformer` builds those of all methods when the class is loaded. */
class LazyTrees extends CompilationCustomizer {
    LazyTrees() { super(CompilePhase.CANONICALIZATION) }

    @Override
    void call(SourceUnit source, GeneratorContext context, ClassNode type) {
        type.methods.each { MethodNode method ->
            FieldNode tree = treeOf(method.code)
            if (tree?.initialValueExpression) { method.code = new BlockStatement([buildOnFirstCall(tree), method.code], method.variableScope) }
        }
    }

    private static Statement buildOnFirstCall(FieldNode tree) {
        Expression field = new VariableExpression(tree)
        Expression missing = new BinaryExpression(field, Token.newSymbol(Types.COMPARE_EQUAL, -1, -1), ConstantExpression.NULL)
        Expression assignment = new BinaryExpression(field, Token.newSymbol(Types.EQUAL, -1, -1), tree.initialValueExpression)
        tree.initialValueExpression = null
        tree.modifiers &= ~Opcodes.ACC_FINAL
        new IfStatement(new BooleanExpression(missing), new ExpressionStatement(assignment), EmptyStatement.INSTANCE)
    }

    /** The field in which `CpsTransformer` stores the tree of a method. */
    private static FieldNode treeOf(Statement code) {
        FieldNode tree = null
        code?.visit(new CodeVisitorSupport() {
            @Override
            void visitVariableExpression(VariableExpression variable) {
                if (variable.name.startsWith('___cps___')) { tree = variable.accessedVariable as FieldNode }
            }
        })
        tree
    }
}
