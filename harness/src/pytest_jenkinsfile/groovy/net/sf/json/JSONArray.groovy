package net.sf.json

/** The list of build causes. */
class JSONArray extends ArrayList<Object> {
    JSONArray(Collection values) { super(values) }
}
