package net.sf.json

/** The null of a JSON text: an object, so it is not null in Groovy. */
class JSONNull implements Serializable {
    private static final JSONNull ONLY = new JSONNull()

    private JSONNull() { }

    /** Convert a parsed value to the types of this library. */
    static Object of(Object value) {
        switch (value) {
            case null: return ONLY
            case Map: return new JSONObject((value as Map).collectEntries(new LinkedHashMap()) { k, v -> [k, of(v)] })
            case List: return new JSONArray((value as List).collect { of(it) })
            case BigDecimal: return (value as BigDecimal).doubleValue()
            default: return value
        }
    }

    @Override
    String toString() { 'null' }

    protected Object readResolve() { ONLY }
}
