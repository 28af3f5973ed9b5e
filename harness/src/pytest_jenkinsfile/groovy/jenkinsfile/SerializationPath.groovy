package jenkinsfile

import groovy.transform.CompileStatic
import groovy.transform.TupleConstructor
import java.lang.reflect.Field
import java.lang.reflect.InaccessibleObjectException
import java.lang.reflect.Modifier

/** An object and, if it is the value of a field, the name of that field. */
@CompileStatic
@TupleConstructor
class FieldReference {
    Object value
    String field
}

/** Lists the fields that lead to an object that is not serializable, innermost first, as Jenkins does. */
@CompileStatic
class SerializationPath {
    private static final int MAX_LENGTH = 100

    static List<String> path(Object root) {
        Object offender = findOffender(root)
        if (offender == null) { return [] }
        Map<Object, FieldReference> owners = new IdentityHashMap<>()
        Deque<Object> queue = new ArrayDeque<>([root])
        while (queue && !owners.containsKey(offender)) {
            Object owner = queue.poll()
            for (FieldReference part in parts(owner)) {
                if (part.value != null && !owners.containsKey(part.value)) {
                    owners.put(part.value, new FieldReference(owner, part.field))
                    queue.add(part.value)
                }
            }
        }
        List<String> way = []
        for (FieldReference step = owners.get(offender); step != null && way.size() < MAX_LENGTH; step = owners.get(step.value)) {
            if (step.field) { way << step.field }
        }
        way
    }

    private static Object findOffender(Object root) {
        OffenderRecorder stream = new OffenderRecorder(OutputStream.nullOutputStream())
        try {
            stream.writeObject(root)
        } catch (NotSerializableException ignored) {
            return stream.offender
        }
        null
    }

    /** The elements of an object, or its fields with their names. */
    private static List<FieldReference> parts(Object owner) {
        if (owner instanceof Class) { return [] }
        if (owner instanceof Map) { return (owner.keySet().toList() + owner.values().toList()).collect { new FieldReference(it) } }
        if (owner instanceof Collection) { return owner.collect { new FieldReference(it) } }
        if (owner instanceof Object[]) { return owner.toList().collect { new FieldReference(it) } }
        fields(owner.getClass()).collect { Field field -> new FieldReference(field.get(owner), "${field.declaringClass.name}.${field.name}".toString()) }
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

/** Records the object that is not serializable. */
@CompileStatic
class OffenderRecorder extends ObjectOutputStream {
    Object offender

    OffenderRecorder(OutputStream sink) {
        super(sink)
        enableReplaceObject(true)
    }

    @Override
    protected Object replaceObject(Object value) {
        if (!(value instanceof Serializable)) { offender = value }
        value
    }
}
