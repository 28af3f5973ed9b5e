def call(Closure body) {
  try { body() } catch (e) { echo "library sees ${e.class.simpleName} result=${e.result} causes=${e.causes.collect { it.class.name }}"; return e }
}
