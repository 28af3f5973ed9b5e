package jenkinsfile

import com.cloudbees.groovy.cps.CpsTransformer
import com.cloudbees.groovy.cps.NonCPS
import com.cloudbees.groovy.cps.TransformerConfiguration
import java.security.MessageDigest
import org.codehaus.groovy.control.CompilationUnit
import org.codehaus.groovy.control.CompilerConfiguration
import org.codehaus.groovy.control.Phases
import org.codehaus.groovy.control.customizers.ImportCustomizer
import org.jenkinsci.plugins.workflow.cps.CpsClosure2
import org.jenkinsci.plugins.workflow.libs.Library

/** The compiled classes of a Jenkinsfile, its libraries and the harness' own CPS code. */
class Code {
    static File harness
    private static final Map<String, Map<String, byte[]>> CACHE = [:]

    final Map<String, byte[]> classes = [:]
    final Set<String> libraryVariables = [] as Set
    final List<String> askedLibraries = []
    final Map<String, File> libraries
    boolean visible

    Code(String script, Map<String, String> libraries, boolean implicit, boolean sandbox) {
        this.libraries = libraries.collectEntries { name, path -> [name, new File(path)] } as Map<String, File>
        classes.putAll(compile(new File(harness, 'cps').listFiles().toList().sort(), [:], []))
        this.libraries.values().each { File root -> addLibrary(root) }
        addScript(script, sandbox)
        visible = implicit || askedLibraries.any { library(it) != null }
    }

    boolean isVariable(String name) { visible && name in libraryVariables }

    File library(String name) { libraries[name.split('@')[0]] ?: libraries['*'] }

    ClassLoader newLoader() { new FreshLoader(classes) }

    String resource(String path) {
        File found = libraries.values().collect { new File(it, 'resources').toPath() }
            .collect { folder -> [folder, folder.resolve(path).normalize()] }
            .find { folder, file -> file.startsWith(folder) && file.toFile().file }?.last()?.toFile()
        found?.getText('UTF-8')
    }

    /** `src` first, then each variable alone: compiled together, `other.step()` would mean the class of that name. */
    private void addLibrary(File root) {
        List<File> variables = (new File(root, 'vars').listFiles()?.toList() ?: []).findAll { it.name.endsWith('.groovy') }.sort()
        List<File> sources = []
        File folder = new File(root, 'src')
        if (folder.directory) { folder.eachFileRecurse { if (it.name.endsWith('.groovy')) { sources << it } } }
        classes.putAll(compile(sources.sort(), classes, []))
        Map<String, byte[]> known = new LinkedHashMap<>(classes)
        variables.each { classes.putAll(compile([it], known, [])) }
        libraryVariables.addAll(variables*.name*.replaceAll(/\.groovy$/, ''))
    }

    private void addScript(String script, boolean sandbox) {
        String key = digest(["${sandbox}", script] + classes.keySet().sort() + classes.values().collect { Arrays.hashCode(it) as String })
        List<String> asked = []
        if (!CACHE.containsKey(key)) {
            CompilationUnit unit = unit(sandbox ? new SandboxTransformer() : new CpsTransformer(), classes, asked)
            unit.addSource('WorkflowScript', script)
            CACHE[key] = bytes(unit)
            CACHE["${key} libraries" as String] = asked.collectEntries { [it, null] }
        }
        classes.putAll(CACHE[key])
        askedLibraries.addAll(CACHE["${key} libraries" as String].keySet())
    }

    private static Map<String, byte[]> compile(List<File> sources, Map<String, byte[]> known, List<String> asked) {
        if (sources.empty) { return [:] }
        String key = digest(sources.collect { "${it.path}\n${it.getText('UTF-8')}" as String })
        if (!CACHE.containsKey(key)) {
            CompilationUnit unit = unit(new CpsTransformer(), known, asked)
            sources.each { unit.addSource(it) }
            CACHE[key] = bytes(unit)
        }
        CACHE[key]
    }

    private static CompilationUnit unit(CpsTransformer transformer, Map<String, byte[]> known, List<String> asked) {
        transformer.configuration = new TransformerConfiguration().withClosureType(CpsClosure2)
        ImportCustomizer imports = new ImportCustomizer()
        imports.addStarImports(NonCPS.package.name, 'hudson.model', 'jenkins.model', Library.package.name)
        CompilerConfiguration configuration = new CompilerConfiguration()
        configuration.sourceEncoding = 'UTF-8'
        configuration.targetBytecode = CompilerConfiguration.JDK7 // Java checks these classes faster
        configuration.scriptBaseClass = PipelineScript.name
        configuration.addCompilationCustomizers(imports, new DeclarativeParser(asked), new SerialVersion(), transformer, new LateTrees())
        new CompilationUnit(configuration, null, new GroovyClassLoader(new FreshLoader(known), configuration))
    }

    private static Map<String, byte[]> bytes(CompilationUnit unit) {
        unit.compile(Phases.CLASS_GENERATION)
        unit.classes.collectEntries { [it.name, it.bytes] }
    }

    private static String digest(List<String> parts) {
        MessageDigest.getInstance('SHA-256').digest(parts.join('\0').getBytes('UTF-8')).encodeHex().toString()
    }
}
