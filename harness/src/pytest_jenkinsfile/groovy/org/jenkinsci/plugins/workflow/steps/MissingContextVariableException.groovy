package org.jenkinsci.plugins.workflow.steps

/** A step that needs a workspace was called outside `node`. */
class MissingContextVariableException extends Exception {
    final String type

    MissingContextVariableException(String type, String step) {
        super("Required context class ${type} is missing\nPerhaps you forgot to surround the ${step} step with a step that provides this, such as: node")
        this.type = type
    }
}
