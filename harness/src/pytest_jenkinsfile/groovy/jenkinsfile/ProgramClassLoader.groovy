package jenkinsfile

import groovy.transform.CompileStatic

/** Defines the classes of a pipeline again, as a restarted controller does. */
@CompileStatic
class ProgramClassLoader extends ClassLoader {
    /** Classes of Java, Groovy and the harness by name, which all loaders share; null for other names. */
    private static final Map<String, Class> SHARED = [:]
    private final Map<String, byte[]> classes
    private final Map<String, Throwable> unusable

    ProgramClassLoader(Map<String, byte[]> classes, Map<String, Throwable> unusable) {
        super(Code.classLoader)
        this.classes = classes
        this.unusable = unusable
    }

    @Override
    protected Class<?> loadClass(String name, boolean resolve) throws ClassNotFoundException {
        sharedClass(name) ?: findLoadedClass(name) ?: findClass(name)
    }

    @Override
    protected Class<?> findClass(String name) throws ClassNotFoundException {
        if (unusable.containsKey(name)) { throw unusable[name] }
        byte[] bytes = classes[name]
        if (bytes == null) { throw new ClassNotInProgram(name) }
        defineClass(name, bytes, 0, bytes.length)
    }

    private static Class sharedClass(String name) {
        if (!SHARED.containsKey(name)) {
            Class type = null
            try {
                type = Code.classLoader.loadClass(name)
            } catch (ClassNotFoundException ignored) {
                // a class of the pipeline, or one that does not exist
            }
            SHARED[name] = type
        }
        SHARED[name]
    }
}

/** Has no stack trace, since Groovy looks up many classes that do not exist. */
class ClassNotInProgram extends ClassNotFoundException {
    ClassNotInProgram(String name) { super(name) }

    @Override
    Throwable fillInStackTrace() { this }
}
