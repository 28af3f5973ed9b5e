package net.sf.json

/** The type in which Jenkins gives build causes: a Map, never a String. */
class JSONObject extends LinkedHashMap<String, Object> {
    JSONObject(Map values) { super(values) }
}
