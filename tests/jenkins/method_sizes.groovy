// Prints, as JSON, how many bytes of bytecode each method has that the library and a Jenkinsfile compile to, at most.
// Arguments: the sources of the engine, the folder of the library, Jenkinsfiles.
import groovy.json.JsonOutput
import groovyjarjarasm.asm.ClassReader
import groovyjarjarasm.asm.ClassVisitor
import groovyjarjarasm.asm.MethodVisitor
import groovyjarjarasm.asm.Opcodes
import groovyjarjarasm.asm.commons.CodeSizeEvaluator
import jenkinsfile.Code

class Sizes extends ClassVisitor {
    final Map<String, Integer> found
    private final String type

    Sizes(String type, Map<String, Integer> found) {
        super(Opcodes.ASM5)
        this.type = type
        this.found = found
    }

    @Override
    MethodVisitor visitMethod(int access, String name, String descriptor, String signature, String[] exceptions) {
        new Measured(found, "${type}.${name}${descriptor}")
    }
}

class Measured extends CodeSizeEvaluator {
    private final Map<String, Integer> found
    private final String name

    Measured(Map<String, Integer> found, String name) {
        super(Opcodes.ASM5, null)
        this.found = found
        this.name = name
    }

    @Override
    void visitEnd() { found[name] = maxSize }
}

Code.harness = new File(args[0])
Map<String, Integer> found = [:]
args.drop(2).each { String script ->
    new Code(new File(script).getText('UTF-8'), ['*': args[1]], false, true, [:]).classes.each { name, bytes ->
        if (!name.startsWith('jenkinsfile.')) { new ClassReader(bytes).accept(new Sizes(name.replace('WorkflowScript', script), found), 0) }
    }
}
println JsonOutput.toJson(found)
