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
    private static final Map<String, Compiled> CACHE = [:]

    final Map<String, byte[]> classes = [:]
    /** Why a class of a library cannot be used, by its name: as in Jenkins, this matters to those only who use it. */
    final Map<String, Throwable> unusable = [:]
    final Set<String> libraryVariables = [] as Set
    final List<String> askedLibraries = []
    final Map<String, File> libraries
    final Set<String> loaded = [] as Set
    boolean visible
    String scriptClass

    Code(String script, Map<String, String> libraries, boolean implicit, boolean sandbox, Map installation) {
        this.libraries = libraries.collectEntries { name, path -> [name, new File(path)] } as Map<String, File>
        classes.putAll(compile(new File(harness, 'cps').listFiles().toList().sort(), [:], installation).classes)
        this.libraries.values().each { File root -> addLibrary(root, installation) }
        addScript(script, sandbox, installation)
        visible = implicit || askedLibraries.any { library(it) != null }
    }

    /** Make a library visible to the script. */
    void load(String name) {
        loaded << name
        visible = true
    }

    boolean isVariable(String name) { visible && name in libraryVariables }

    File library(String name) { libraries[name.split('@')[0]] ?: libraries['*'] }

    ClassLoader newLoader() { new FreshLoader(classes, unusable) }

    String resource(String path, String encoding) {
        File found = libraries.values().collect { new File(it, 'resources').toPath() }
            .collect { folder -> [folder, folder.resolve(path).normalize()] }
            .find { folder, file -> file.startsWith(folder) && file.toFile().file }?.last()?.toFile()
        encoding == 'Base64' ? found?.bytes?.encodeBase64()?.toString() : found?.getText(encoding)
    }

    /** `src` first, then each variable alone: compiled together, `other.step()` would mean the class of that name. */
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
                Compiled compiled = compile([file], known, installation, sourcesUnusable())
                classes.putAll(compiled.classes)
                if (compiled.gaps) { unusable[name] = new NotInHarness(compiled.gaps[0], true) }
            } catch (NotCompiled | NotInHarness error) {
                unusable[name] = error
            }
        }
    }

    /** Leaves out the files that do not compile, and those that need them, until the rest does. */
    private void addSources(File folder, List<File> sources, Map installation) {
        List<File> left = sources
        while (left) {
            try {
                classes.putAll(compile(left, classes, installation).classes)
                return
            } catch (NotCompiled | NotInHarness why) {
                List<File> bad = left.findAll { "\n${why.message}" =~ /\n\Q${it.path}\E: ?\d/ }
                (bad ?: left).each { unusable[className(folder, it)] = why }
                left = bad ? left - bad : []
            }
        }
    }

    private static String className(File folder, File file) {
        (folder.toPath().relativize(file.toPath()) as String).replaceAll(/\.groovy$/, '').replace('/', '.')
    }

    private void addScript(String script, boolean sandbox, Map installation) {
        String key = digest(["${sandbox} ${installation}", script] + classes.keySet().sort() + classes.values().collect { Arrays.hashCode(it) as String })
        if (!CACHE.containsKey(key)) {
            Found found = new Found()
            CompilationUnit unit = unit(sandbox ? new SandboxTransformer() : new PipelineTransformer(), new FreshLoader(classes, sourcesUnusable()), found, installation)
            unit.addSource('WorkflowScript', script)
            CACHE[key] = bytes(unit, found)
        }
        Compiled compiled = CACHE[key]
        if (compiled.gaps) { throw new NotInHarness(compiled.gaps[0], true) }
        classes.putAll(compiled.classes)
        scriptClass = compiled.classes.keySet().find { it == 'WorkflowScript' || it.endsWith('.WorkflowScript') }
        askedLibraries.addAll(compiled.libraries)
    }

    /** A script that the build reads while it runs. */
    void addEvaluated(String name, String text, boolean sandbox, Map installation) {
        Found found = new Found()
        CompilationUnit unit = unit(sandbox ? new SandboxTransformer() : new PipelineTransformer(), new FreshLoader(classes, sourcesUnusable()), found, installation)
        unit.addSource(name, text)
        Compiled compiled = bytes(unit, found)
        if (compiled.gaps) { throw new NotInHarness(compiled.gaps[0], true) }
        classes.putAll(compiled.classes)
    }

    /** A name of a library's variable is no class for the compiler. */
    private Map<String, Throwable> sourcesUnusable() { unusable.findAll { !(it.key in libraryVariables) } }

    private static Compiled compile(List<File> sources, Map<String, byte[]> known, Map installation, Map<String, Throwable> unusable = [:]) {
        if (sources.empty) { return new Compiled([:], [], []) }
        String key = digest(["${installation}" as String] + sources.collect { "${it.path}\n${it.getText('UTF-8')}" as String })
        if (!CACHE.containsKey(key)) {
            Found found = new Found()
            CompilationUnit unit = unit(new PipelineTransformer(), new FreshLoader(known, unusable), found, installation)
            sources.each { unit.addSource(it) }
            CACHE[key] = bytes(unit, found)
        }
        CACHE[key]
    }

    private static CompilationUnit unit(CpsTransformer transformer, ClassLoader known, Found found, Map installation) {
        transformer.configuration = new TransformerConfiguration().withClosureType(CpsClosure2)
        ImportCustomizer imports = new ImportCustomizer()
        imports.addStarImports(NonCPS.package.name, 'hudson.model', 'jenkins.model', Library.package.name)
        CompilerConfiguration configuration = new CompilerConfiguration()
        configuration.sourceEncoding = 'UTF-8'
        configuration.targetBytecode = CompilerConfiguration.JDK7 // Java checks these classes faster
        configuration.scriptBaseClass = PipelineScript.name
        configuration.addCompilationCustomizers(imports, new DeclarativeParser(found, installation), new SerialVersion(), transformer, new LateTrees())
        new CompilationUnit(configuration, null, new GroovyClassLoader(known, configuration))
    }

    private static Compiled bytes(CompilationUnit unit, Found found) {
        try {
            unit.compile(Phases.CLASS_GENERATION)
        } catch (GroovyBugError error) {
            if (error.cause instanceof NotCompiled) { throw error.cause }
            throw error
        } catch (MultipleCompilationErrorsException error) {
            ExceptionMessage fault = error.errorCollector.errors.find { it instanceof ExceptionMessage && isOwn(it.cause) } as ExceptionMessage
            if (fault) { throw new IllegalStateException('the harness cannot compile this', fault.cause) }
            String missing = Plugins.missingClass(error.message)
            if (missing) { throw new NotInHarness(missing, true) }
            throw new NotCompiled(error.message)
        }
        new Compiled(unit.classes.collectEntries { [it.name, it.bytes] } as Map<String, byte[]>, found.libraries, found.gaps)
    }

    /** Groovy reports a method that is too large as an exception too; these are faults of the harness' customizers. */
    private static boolean isOwn(Throwable cause) {
        [MissingMethodException, MissingPropertyException, ClassCastException, NullPointerException].any { it.isInstance(cause) }
    }

    private static String digest(List<String> parts) {
        MessageDigest.getInstance('SHA-256').digest(parts.join('\0').getBytes('UTF-8')).encodeHex().toString()
    }
}

/** What a compilation gave: classes, libraries that were asked for, and what this harness lacks. */
@groovy.transform.TupleConstructor
class Compiled {
    Map<String, byte[]> classes
    List<String> libraries
    List<String> gaps
}

/** Filled while a script is compiled. */
class Found {
    final List<String> libraries = []
    final List<String> gaps = []
}

/** A source does not compile. Unlike Groovy's exception it can be saved with the program. */
class NotCompiled extends RuntimeException {
    NotCompiled(String message) { super(message) }

    @Override
    String toString() { "${MultipleCompilationErrorsException.name}: ${message}" }
}
