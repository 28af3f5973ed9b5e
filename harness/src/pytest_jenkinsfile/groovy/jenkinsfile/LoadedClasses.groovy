package jenkinsfile

import org.codehaus.groovy.runtime.InvokerHelper

/** The return value of `library`: packages by name, and their classes with static methods and `new`. */
class LoadedClasses implements Serializable {
    private final String path

    LoadedClasses(String path) { this.path = path }

    Object getProperty(String name) {
        if (name =~ /^[A-Z]/ && path.tokenize('.').any { it =~ /^[A-Z]/ }) {
            throw new ClassNotFoundException("${path}\$${name}")
        }
        new LoadedClasses(path ? "${path}.${name}" : name)
    }

    Object invokeMethod(String name, Object args) {
        Object[] list = InvokerHelper.asArray(args)
        if (name == 'getClass') { return LoadedClasses }
        if (name == 'getProperty') { return getProperty(list[0] as String) }
        Class type = Engine.run.loader.loadClass(path)
        name == 'new' ? InvokerHelper.invokeConstructorOf(type, list) : InvokerHelper.invokeMethod(type, name, list)
    }
}
