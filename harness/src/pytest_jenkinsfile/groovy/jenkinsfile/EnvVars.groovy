package jenkinsfile

import groovy.transform.CompileStatic
import java.util.regex.Matcher
import java.util.regex.Pattern

/** Variables by name, compared without case, as in `hudson.EnvVars`: the first spelling of a name stays. */
@CompileStatic
class EnvVars extends TreeMap<String, String> {
    private static final Pattern REFERENCE = Pattern.compile(/\$(?:([A-Za-z0-9_]+)|\{([A-Za-z0-9_.]+)\}|(\$))/)

    EnvVars() { super(String.CASE_INSENSITIVE_ORDER) }

    EnvVars(Map<String, String> values) {
        this()
        putAll(values)
    }

    /** The agent's, those of its `node` block over them, then the build's, what was assigned, and the changes of the blocks around. */
    static EnvVars inLayers(EnvVars agent, Map<String, String> node, EnvVars own, Map<String, String> assigned, List<Map<String, String>> changes) {
        EnvVars all = agent == null ? new EnvVars() : new EnvVars(agent)
        if (agent != null) { all.putAll(node) }
        all.putAll(own)
        if (agent != null) { all.prependAll(own) }
        all.putAll(assigned)
        for (Map<String, String> some : changes) { all.overrideAll(some) }
        all
    }

    /** Set a variable; an empty value removes it, `NAME+X` goes before the value of NAME. */
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

    /** A variable `NAME+X` of the controller goes before the value of NAME on a node, and once more, as it stays, before that of every process. */
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
            String found = name == null ? '$' : get(name)
            reference.appendReplacement(result, Matcher.quoteReplacement(found == null ? reference.group() : found))
        }
        reference.appendTail(result)
        result.toString()
    }
}

/** What a process gets of the variables, and what Linux takes of them. */
@CompileStatic
class ProcessEnvironment {
    private static final Pattern IDENTIFIER = Pattern.compile(/[A-Za-z_][A-Za-z0-9_]*/)
    private static final int LONGEST = 131_072
    private static final int ALL_TOGETHER = 2_097_152

    /** The agent's own variables and over them those of the step; the shell drops names that are no identifiers. */
    static EnvVars of(EnvVars agent, EnvVars variables) {
        EnvVars all = new EnvVars(agent)
        all.overrideAll(variables)
        identifiers(all)
    }

    /** A container keeps what it was started with: `docker exec` can only set variables. */
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

    /** What Java says when the kernel refuses to start a process with these variables. */
    static void check(Map<String, String> variables, String program, String folder) {
        long sum = 0
        for (Map.Entry<String, String> entry : variables.entrySet()) {
            long size = entry.key.length() + 2L + bytes(entry.value)
            sum += size + 8
            if (size > LONGEST || sum > ALL_TOGETHER) {
                throw new IOException("Cannot run program \"${program}\" (in directory \"${folder}\"): error=7, Argument list too long")
            }
        }
    }

    private static long bytes(String value) { value.length() * 4L < LONGEST ? value.length() : value.getBytes('UTF-8').length }
}
