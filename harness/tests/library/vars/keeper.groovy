import groovy.transform.Field
@Field String kept = 'initial'
def set(v) { kept = v }
def get() { kept }
