package net.sf.json

/** The type of a build cause in Jenkins: a Map, never a String. */
class JSONObject extends LinkedHashMap<String, Object> {
    JSONObject(Map values) { super(values) }
}
