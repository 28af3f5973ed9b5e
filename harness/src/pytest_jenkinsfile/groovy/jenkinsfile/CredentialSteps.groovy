package jenkinsfile

import com.cloudbees.groovy.cps.Outcome
import org.jenkinsci.plugins.credentialsbinding.impl.CredentialNotFoundException
import org.jenkinsci.plugins.credentialsbinding.impl.MaskedException

/** `withCredentials`: binds the scenario's credentials for its body and masks them in the console. */
class CredentialSteps {
    private static final Map<String, String> KINDS = [secret: 'Secret text', file: 'Secret file', key: 'SSH Username with private key', password: 'Username with password']
    private static final Map<String, String> INTERFACES = [
        secret: 'org.jenkinsci.plugins.plaincredentials.StringCredentials', file: 'org.jenkinsci.plugins.plaincredentials.FileCredentials',
        key: 'com.cloudbees.jenkins.plugins.sshcredentials.SSHUserPrivateKey',
        username: 'com.cloudbees.plugins.credentials.common.StandardUsernamePasswordCredentials',
        password: 'com.cloudbees.plugins.credentials.common.StandardUsernamePasswordCredentials',
    ]

    static void register() {
        Steps.define(name: 'withCredentials', main: 'bindings', block: true, start: { Call call ->
            Map<String, String> variables = [:]
            Map<String, String> secrets = [:]
            (call['bindings'] as List).each { bind(call, it as Describable, variables, secrets) }
            if (secrets) { call.log("Masking supported pattern matches of ${secrets.keySet().collect { "\$${it}" }.join(' or ')}") }
            call.run.startBody(call, context: [variables: variables, secrets: secrets])
        }, bodyEnded: { Call call, CpsThread body, Outcome outcome ->
            (call.state.files ?: []).each { new File(it as String).delete() }
            String message = outcome.abnormal?.message
            boolean leaks = message && body.context.secrets().values().any { it && message.contains(it) }
            leaks ? call.fail(new MaskedException(Secrets.hide(message, body.context) as String)) : FlowSteps.pass(call, outcome)
        })
    }

    private static void bind(Call call, Describable binding, Map<String, String> variables, Map<String, String> secrets) {
        String id = binding['credentialsId']
        Map credential = (call.run.scenario.credentials as Map)[id] as Map
        if (credential == null) { throw new CredentialNotFoundException("Could not find credentials entry with ID '${id}'") }
        Closure<String> name = { String key, String fallback = null -> binding[key] ?: fallback }
        switch (binding.symbol) {
            case 'string':
                secret(name('variable'), text(credential, 'secret', id), variables, secrets)
                break
            case 'usernamePassword':
                if (name('variable')) {
                    secret(name('variable'), "${text(credential, 'username', id)}:${text(credential, 'password', id)}", variables, secrets)
                }
                variables[name('usernameVariable')] = text(credential, 'username', id)
                secret(name('passwordVariable'), text(credential, 'password', id), variables, secrets)
                break
            case 'usernameColonPassword':
                secret(name('variable'), "${text(credential, 'username', id)}:${text(credential, 'password', id)}", variables, secrets)
                break
            case 'file':
                secret(name('variable'), keyFile(call, id, credential.name as String ?: id, text(credential, 'file', id)), variables, secrets)
                break
            case 'sshUserPrivateKey':
                secret(name('keyFileVariable'), keyFile(call, id, "ssh-key-${id}", text(credential, 'key', id)), variables, secrets)
                if (name('passphraseVariable')) { secret(name('passphraseVariable'), credential.passphrase as String ?: '', variables, secrets) }
                if (name('usernameVariable')) { variables[name('usernameVariable')] = text(credential, 'username', id) }
                break
            default:
                throw new IllegalArgumentException("unknown credentials binding ${binding.symbol}")
        }
    }

    private static void secret(String variable, String value, Map<String, String> variables, Map<String, String> secrets) {
        variables[variable] = value
        secrets[variable] = value
    }

    private static String text(Map credential, String key, String id) {
        if (!credential.containsKey(key)) {
            throw new CredentialNotFoundException("Credentials '${id}' is of type '${kind(credential)}' where '${INTERFACES[key]}' was expected")
        }
        credential[key] as String
    }

    private static String kind(Map credential) {
        KINDS.find { key, name -> credential.containsKey(key) }?.value ?: credential.keySet().join(', ')
    }

    private static String keyFile(Call call, String id, String name, String content) {
        String tmp = call.context['workspace'] ? "${call.context['workspace']}@tmp" : new File(call.run.controller.root, 'secrets').path
        File file = new File(tmp, "secretFiles/${id}/${name}")
        file.parentFile.mkdirs()
        file.setText(content, 'UTF-8')
        call.state.files = (call.state.files ?: []) + [file.path]
        file.path
    }

    /** The binding for `credentials('id')` in a Declarative `environment`. */
    static Describable declared(Run run, String variable, String id) {
        Map credential = (run.scenario.credentials as Map)[id] as Map
        if (credential == null) { throw new CredentialNotFoundException(id) }
        if (credential.containsKey('secret')) { return new Describable(symbol: 'string', arguments: [credentialsId: id, variable: variable]) }
        if (credential.containsKey('file')) { return new Describable(symbol: 'file', arguments: [credentialsId: id, variable: variable]) }
        if (credential.containsKey('key')) {
            return new Describable(symbol: 'sshUserPrivateKey', arguments: [credentialsId: id, keyFileVariable: variable, usernameVariable: "${variable}_USR" as String])
        }
        new Describable(symbol: 'usernamePassword', arguments: [credentialsId: id, variable: variable,
                                                                usernameVariable: "${variable}_USR" as String, passwordVariable: "${variable}_PSW" as String])
    }
}
