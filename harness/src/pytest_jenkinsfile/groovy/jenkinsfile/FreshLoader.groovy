package jenkinsfile

import groovy.transform.CompileStatic

/** Defines the pipeline's classes anew: what a restarted controller has. */
@CompileStatic
class FreshLoader extends ClassLoader {
    /** Classes of Java, Groovy and the harness by name, which no restart changes; null for others. */
    private static final Map<String, Class> LASTING = [:]
    private final Map<String, byte[]> classes
    private final Map<String, Throwable> unusable

    FreshLoader(Map<String, byte[]> classes, Map<String, Throwable> unusable) {
        super(Code.classLoader)
        this.classes = classes
        this.unusable = unusable
    }

    @Override
    protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
        lasting(name) ?: findLoadedClass(name) ?: findClass(name)
    }

    @Override
    protected Class<?> findClass(String name) throws ClassNotFoundException {
        if (unusable.containsKey(name)) { throw unusable[name] }
        byte[] found = classes[name]
        if (found == null) { throw new NotAmongThem(name) }
        defineClass(name, found, 0, found.length)
    }

    private static Class lasting(String name) {
        if (!LASTING.containsKey(name)) {
            Class found = null
            try {
                found = Code.classLoader.loadClass(name)
            } catch (ClassNotFoundException ignored) {
                // a class of the pipeline, or one that does not exist
            }
            LASTING[name] = found
        }
        LASTING[name]
    }
}

/** Groovy asks for many classes that may not be there: no stack trace for each. */
class NotAmongThem extends ClassNotFoundException {
    NotAmongThem(String name) { super(name) }

    @Override
    Throwable fillInStackTrace() { this }
}
