package jenkinsfile

import groovy.transform.CompileStatic
import java.util.regex.Matcher
import java.util.regex.Pattern

/** Environment variables with case-insensitive names, as in `hudson.EnvVars`; the first spelling of a name is kept. */
@CompileStatic
class EnvVars extends TreeMap<String, String> {
    private static final Pattern REFERENCE = Pattern.compile(/\$(?:([A-Za-z0-9_]+)|\{([A-Za-z0-9_.]+)\}|(\$))/)

    EnvVars() { super(String.CASE_INSENSITIVE_ORDER) }

    EnvVars(Map<String, String> values) {
        this()
        putAll(values)
    }

    /** Merge in order of precedence: the agent's variables, its `node` block's, the build's, those assigned to `env`, those of enclosing blocks. */
    static EnvVars layered(EnvVars agent, Map<String, String> node, EnvVars own, Map<String, String> assigned, List<Map<String, String>> changes) {
        EnvVars all = agent == null ? new EnvVars() : new EnvVars(agent)
        if (agent != null) { all.putAll(node) }
        all.putAll(own)
        if (agent != null) { all.prependAll(own) }
        all.putAll(assigned)
        for (Map<String, String> some : changes) { all.overrideAll(some) }
        all
    }

    /** Set a variable; an empty value removes it, `NAME+X` is prepended to the value of NAME. */
    void override(String name, String value) {
        if (!value) {
            remove(name)
            return
        }
        int plus = name.indexOf('+')
        if (plus > 0) {
            String path = name.substring(0, plus)
            String before = get(path)
            put(path, before == null ? value : "${value}:${before}".toString())
        } else {
            put(name, value)
        }
    }

    /** Prepend variables `NAME+X` of the controller to NAME on a node. They are kept, so that they are prepended again for every process. */
    void prependAll(Map<String, String> values) {
        for (Map.Entry<String, String> entry : values.entrySet()) {
            if (entry.key.indexOf('+') > 0) { override(entry.key, entry.value) }
        }
    }

    void overrideAll(Map<String, String> values) {
        for (Map.Entry<String, String> entry : values.entrySet()) { override(entry.key, entry.value) }
    }

    /** Replace references to other variables in each value, in the order of names, once. */
    void resolve() {
        for (Map.Entry<String, String> entry : entrySet()) {
            if (entry.value.contains('$')) { entry.value = expanded(entry.value) }
        }
    }

    private String expanded(String text) {
        Matcher reference = REFERENCE.matcher(text)
        StringBuffer result = new StringBuffer()
        while (reference.find()) {
            String name = reference.group(1) ?: reference.group(2)
            String value = name == null ? '$' : get(name)
            reference.appendReplacement(result, Matcher.quoteReplacement(value == null ? reference.group() : value))
        }
        reference.appendTail(result)
        result.toString()
    }
}

/** The environment of a process, and the limits that Linux sets to it. */
@CompileStatic
class ProcessEnvironment {
    private static final Pattern IDENTIFIER = Pattern.compile(/[A-Za-z_][A-Za-z0-9_]*/)
    private static final int MAX_BYTES = 131_072
    private static final int MAX_TOTAL_BYTES = 2_097_152

    /** The agent's variables overridden by those of the step; the shell drops names that are not identifiers. */
    static EnvVars of(EnvVars agent, EnvVars variables) {
        EnvVars all = new EnvVars(agent)
        all.overrideAll(variables)
        identifiers(all)
    }

    /** The environment in a container: `docker exec` can set variables of its start, not remove them. */
    static EnvVars inContainer(Map<String, String> agent, Map<String, String> started, Map<String, String> passed) {
        EnvVars all = new EnvVars(agent.findAll { it.key in ['PATH', 'HOME'] })
        all.putAll(started)
        all.putAll(passed)
        identifiers(all)
    }

    private static EnvVars identifiers(EnvVars all) {
        for (Iterator<String> names = all.keySet().iterator(); names.hasNext();) {
            if (!IDENTIFIER.matcher(names.next()).matches()) { names.remove() }
        }
        all
    }

    /** Raise the error of Java if the kernel would refuse to start a process with these variables. */
    static void check(Map<String, String> variables, String program, String folder) {
        long sum = 0
        for (Map.Entry<String, String> entry : variables.entrySet()) {
            long size = entry.key.length() + 2L + bytes(entry.value)
            sum += size + 8
            if (size > MAX_BYTES || sum > MAX_TOTAL_BYTES) {
                throw new IOException("Cannot run program \"${program}\" (in directory \"${folder}\"): error=7, Argument list too long")
            }
        }
    }

    private static long bytes(String value) { value.length() * 4L < MAX_BYTES ? value.length() : value.getBytes('UTF-8').length }
}
