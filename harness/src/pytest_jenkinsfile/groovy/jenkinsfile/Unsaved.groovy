package jenkinsfile

import groovy.transform.CompileStatic
import groovy.transform.TupleConstructor
import java.lang.reflect.Field
import java.lang.reflect.InaccessibleObjectException
import java.lang.reflect.Modifier

/** An object, and the field that it was found in, if it was one. */
@CompileStatic
@TupleConstructor
class Part {
    Object value
    String field
}

/** Names the fields that lead to what cannot be saved, innermost first, as Jenkins does. */
@CompileStatic
class Unsaved {
    private static final int LONGEST = 100

    static List<String> path(Object root) {
        Object offender = findUnserialisable(root)
        if (offender == null) { return [] }
        Map<Object, Part> owners = new IdentityHashMap<>()
        Deque<Object> queue = new ArrayDeque<>([root])
        while (queue && !owners.containsKey(offender)) {
            Object owner = queue.poll()
            for (Part part in parts(owner)) {
                if (part.value != null && !owners.containsKey(part.value)) {
                    owners.put(part.value, new Part(owner, part.field))
                    queue.add(part.value)
                }
            }
        }
        List<String> way = []
        for (Part step = owners.get(offender); step != null && way.size() < LONGEST; step = owners.get(step.value)) {
            if (step.field) { way << step.field }
        }
        way
    }

    private static Object findUnserialisable(Object root) {
        Watching stream = new Watching(OutputStream.nullOutputStream())
        try {
            stream.writeObject(root)
        } catch (NotSerializableException ignored) {
            return stream.offender
        }
        null
    }

    /** What a saved object holds: its elements, or its fields with their names. */
    private static List<Part> parts(Object owner) {
        if (owner instanceof Class) { return [] }
        if (owner instanceof Map) { return (owner.keySet().toList() + owner.values().toList()).collect { new Part(it) } }
        if (owner instanceof Collection) { return owner.collect { new Part(it) } }
        if (owner instanceof Object[]) { return owner.toList().collect { new Part(it) } }
        fields(owner.getClass()).collect { Field field -> new Part(field.get(owner), "${field.declaringClass.name}.${field.name}".toString()) }
    }

    private static List<Field> fields(Class type) {
        if (type == null || !Serializable.isAssignableFrom(type)) { return [] }
        fields(type.superclass) + type.declaredFields.findAll { Field field ->
            !Modifier.isStatic(field.modifiers) && !Modifier.isTransient(field.modifiers) && !field.type.primitive && opened(field)
        }
    }

    private static boolean opened(Field field) {
        try {
            field.accessible = true
            true
        } catch (InaccessibleObjectException ignored) {
            false
        }
    }
}

/** Remembers the object that cannot be written. */
@CompileStatic
class Watching extends ObjectOutputStream {
    Object offender

    Watching(OutputStream sink) {
        super(sink)
        enableReplaceObject(true)
    }

    @Override
    protected Object replaceObject(Object value) {
        if (!(value instanceof Serializable)) { offender = value }
        value
    }
}
