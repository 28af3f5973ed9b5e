package org.mlpipeline

/** Binds credentials around the command of a stage. */
class CredentialBindings implements Serializable {
    private final Object steps

    CredentialBindings(Object steps) {
        this.steps = steps
    }

    /** Runs a body with these credentials, of which each is: binding, id, variables. */
    Object around(List credentials, Closure body) {
        if (!credentials) {
            return body()
        }
        return steps.withCredentials(credentials.collect { Map credential -> binding(credential) }) { body() }
    }

    private Object binding(Map credential) {
        if (credential.binding == 'usernamePassword') {
            return steps.usernamePassword(credentialsId: credential.id, usernameVariable: credential.variables[0], passwordVariable: credential.variables[1])
        }
        Map arguments = [credentialsId: credential.id, variable: credential.variables[0]]
        return credential.binding == 'file' ? steps.file(arguments) : steps.string(arguments)
    }
}
