package jenkinsfile

import com.cloudbees.groovy.cps.CpsTransformer
import com.cloudbees.groovy.cps.NonCPS
import com.cloudbees.groovy.cps.TransformerConfiguration
import java.security.MessageDigest
import org.codehaus.groovy.GroovyBugError
import org.codehaus.groovy.control.CompilationUnit
import org.codehaus.groovy.control.CompilerConfiguration
import org.codehaus.groovy.control.MultipleCompilationErrorsException
import org.codehaus.groovy.control.Phases
import org.codehaus.groovy.control.customizers.ImportCustomizer
import org.codehaus.groovy.control.messages.ExceptionMessage
import org.jenkinsci.plugins.workflow.cps.CpsClosure2
import org.jenkinsci.plugins.workflow.libs.Library

/** The compiled classes of a Jenkinsfile, its libraries and the harness' own CPS code. */
class Code {
    static File harness
    private static final Map<String, CompilationResult> CACHE = [:]

    final Map<String, byte[]> classes = [:]
    /** Errors of library classes that do not compile, by class name; as in Jenkins, only a script that uses the class fails. */
    final Map<String, Throwable> unusable = [:]
    final Set<String> libraryVariables = [] as Set
    final List<String> requestedLibraries = []
    final Map<String, File> libraries
    final Set<String> loaded = [] as Set
    boolean visible
    String scriptClass

    Code(String script, Map<String, String> libraries, boolean implicit, boolean sandbox, Map installation) {
        this.libraries = libraries.collectEntries { name, path -> [name, new File(path)] } as Map<String, File>
        classes.putAll(compile(new File(harness, 'cps').listFiles().toList().sort(), [:], installation).classes)
        this.libraries.values().each { File root -> addLibrary(root, installation) }
        addScript(script, sandbox, installation)
        visible = implicit || requestedLibraries.any { library(it) != null }
    }

    /** Make a library visible to the script. */
    void load(String name) {
        loaded << name
        visible = true
    }

    boolean isVariable(String name) { visible && name in libraryVariables }

    File library(String name) { libraries[name.split('@')[0]] ?: libraries['*'] }

    ClassLoader newLoader() { new ProgramClassLoader(classes, unusable) }

    String resource(String path, String encoding) {
        File file = libraries.values().collect { new File(it, 'resources').toPath() }
            .collect { folder -> [folder, folder.resolve(path).normalize()] }
            .find { folder, candidate -> candidate.startsWith(folder) && candidate.toFile().file }?.last()?.toFile()
        encoding == 'Base64' ? file?.bytes?.encodeBase64()?.toString() : file?.getText(encoding)
    }

    /** Compile `src` first, then each variable alone: compiled together, `other.step()` would resolve to the class of that name. */
    private void addLibrary(File root, Map installation) {
        List<File> variables = (new File(root, 'vars').listFiles()?.toList() ?: []).findAll { it.name.endsWith('.groovy') }.sort()
        List<File> sources = []
        File folder = new File(root, 'src')
        if (folder.directory) { folder.eachFileRecurse { if (it.name.endsWith('.groovy')) { sources << it } } }
        addSources(folder, sources.sort(), installation)
        Map<String, byte[]> known = new LinkedHashMap<>(classes)
        variables.each { File file ->
            String name = file.name.replaceAll(/\.groovy$/, '')
            libraryVariables << name
            try {
                CompilationResult compiled = compile([file], known, installation, unusableSources())
                classes.putAll(compiled.classes)
                if (compiled.unsupported) { unusable[name] = new UnsupportedError(compiled.unsupported[0], true) }
            } catch (CompilationError | UnsupportedError error) {
                unusable[name] = error
            }
        }
    }

    /** Compile all files but those with errors and those that depend on them. */
    private void addSources(File folder, List<File> sources, Map installation) {
        List<File> remaining = sources
        while (remaining) {
            try {
                classes.putAll(compile(remaining, classes, installation).classes)
                return
            } catch (CompilationError | UnsupportedError error) {
                List<File> failing = remaining.findAll { "\n${error.message}" =~ /\n\Q${it.path}\E: ?\d/ }
                (failing ?: remaining).each { unusable[className(folder, it)] = error }
                remaining = failing ? remaining - failing : []
            }
        }
    }

    private static String className(File folder, File file) {
        (folder.toPath().relativize(file.toPath()) as String).replaceAll(/\.groovy$/, '').replace('/', '.')
    }

    private void addScript(String script, boolean sandbox, Map installation) {
        String key = digest(["${sandbox} ${installation}", script] + classes.keySet().sort() + classes.values().collect { Arrays.hashCode(it) as String })
        if (!CACHE.containsKey(key)) {
            CompilationFindings findings = new CompilationFindings()
            CompilationUnit unit = unit(sandbox ? new SandboxTransformer() : new PipelineTransformer(), new ProgramClassLoader(classes, unusableSources()), findings, installation)
            unit.addSource('WorkflowScript', script)
            CACHE[key] = bytes(unit, findings)
        }
        CompilationResult compiled = CACHE[key]
        if (compiled.unsupported) { throw new UnsupportedError(compiled.unsupported[0], true) }
        classes.putAll(compiled.classes)
        scriptClass = compiled.classes.keySet().find { it == 'WorkflowScript' || it.endsWith('.WorkflowScript') }
        requestedLibraries.addAll(compiled.libraries)
    }

    /** Compile a script that the build loads while it runs. */
    void addAtRunTime(String name, String text, boolean sandbox, Map installation) {
        CompilationFindings findings = new CompilationFindings()
        CompilationUnit unit = unit(sandbox ? new SandboxTransformer() : new PipelineTransformer(), new ProgramClassLoader(classes, unusableSources()), findings, installation)
        unit.addSource(name, text)
        CompilationResult compiled = bytes(unit, findings)
        if (compiled.unsupported) { throw new UnsupportedError(compiled.unsupported[0], true) }
        classes.putAll(compiled.classes)
    }

    /** Errors of classes only: the compiler does not see a library's variables as classes. */
    private Map<String, Throwable> unusableSources() { unusable.findAll { !(it.key in libraryVariables) } }

    private static CompilationResult compile(List<File> sources, Map<String, byte[]> known, Map installation, Map<String, Throwable> unusable = [:]) {
        if (sources.empty) { return new CompilationResult([:], [], []) }
        String key = digest(["${installation}" as String] + sources.collect { "${it.path}\n${it.getText('UTF-8')}" as String })
        if (!CACHE.containsKey(key)) {
            CompilationFindings findings = new CompilationFindings()
            CompilationUnit unit = unit(new PipelineTransformer(), new ProgramClassLoader(known, unusable), findings, installation)
            sources.each { unit.addSource(it) }
            CACHE[key] = bytes(unit, findings)
        }
        CACHE[key]
    }

    private static CompilationUnit unit(CpsTransformer transformer, ClassLoader known, CompilationFindings findings, Map installation) {
        transformer.configuration = new TransformerConfiguration().withClosureType(CpsClosure2)
        ImportCustomizer imports = new ImportCustomizer()
        imports.addStarImports(NonCPS.package.name, 'hudson.model', 'jenkins.model', Library.package.name)
        CompilerConfiguration configuration = new CompilerConfiguration()
        configuration.sourceEncoding = 'UTF-8'
        configuration.targetBytecode = CompilerConfiguration.JDK7 // Java checks these classes faster
        configuration.scriptBaseClass = PipelineScript.name
        configuration.addCompilationCustomizers(imports, new DeclarativeParser(findings, installation), new SerialVersion(), transformer, new LazyTrees())
        new CompilationUnit(configuration, null, new GroovyClassLoader(known, configuration))
    }

    private static CompilationResult bytes(CompilationUnit unit, CompilationFindings findings) {
        try {
            unit.compile(Phases.CLASS_GENERATION)
        } catch (GroovyBugError error) {
            if (error.cause instanceof CompilationError) { throw error.cause }
            throw error
        } catch (MultipleCompilationErrorsException error) {
            ExceptionMessage fault = error.errorCollector.errors.find { it instanceof ExceptionMessage && isOwn(it.cause) } as ExceptionMessage
            if (fault) { throw new IllegalStateException('the harness cannot compile this script', fault.cause) }
            String missing = Plugins.missingClass(error.message)
            if (missing) { throw new UnsupportedError(missing, true) }
            throw new CompilationError(error.message)
        }
        new CompilationResult(unit.classes.collectEntries { [it.name, it.bytes] } as Map<String, byte[]>, findings.libraries, findings.unsupported)
    }

    /** Whether a compiler exception is a bug of the harness' customizers; Groovy also reports a method that is too large as an exception. */
    private static boolean isOwn(Throwable cause) {
        [MissingMethodException, MissingPropertyException, ClassCastException, NullPointerException].any { it.isInstance(cause) }
    }

    private static String digest(List<String> parts) {
        MessageDigest.getInstance('SHA-256').digest(parts.join('\0').getBytes('UTF-8')).encodeHex().toString()
    }
}

/** The result of a compilation: classes, the libraries that `@Library` names, and unsupported features. */
@groovy.transform.TupleConstructor
class CompilationResult {
    Map<String, byte[]> classes
    List<String> libraries
    List<String> unsupported
}

/** What the customizers record while a script is compiled. */
class CompilationFindings {
    final List<String> libraries = []
    final List<String> unsupported = []
}

/** A source does not compile. Unlike Groovy's exception it can be saved with the program. */
class CompilationError extends RuntimeException {
    CompilationError(String message) { super(message) }

    @Override
    String toString() { "${MultipleCompilationErrorsException.name}: ${message}" }
}
