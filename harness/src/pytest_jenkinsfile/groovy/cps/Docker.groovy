package jenkinsfile.cps

/** The global variable `docker`. */
class Docker implements Serializable {
    private final Object script

    Docker(Object script) { this.script = script }

    def image(String id) { new Image(script, id) }

    def build(String tag, String arguments = '.') {
        script.withEnv(["JD_IMAGE=${tag}".toString()]) {
            script.sh('docker build -t "$JD_IMAGE" ' + arguments)
        }
        return image(tag)
    }

    def withRegistry(String url, String credentialsId = null, Closure body) {
        def arguments = [url: url]
        if (credentialsId) { arguments.credentialsId = credentialsId }
        script.withDockerRegistry(arguments) { body.call() }
    }

    /** The tag under which Declarative builds a Dockerfile, derived from its path. */
    String nameOf(Map values) { Integer.toHexString("${values.dir ?: '.'}/${values.filename ?: 'Dockerfile'}".toString().hashCode()) }

    static class Image implements Serializable {
        final String id
        private final Object script

        Image(Object script, String id) {
            this.script = script
            this.id = id
        }

        String imageName() { id }

        def inside(String arguments = '', Closure body) {
            script.isUnix()
            def known = null
            script.withEnv(["JD_IMAGE=${id}".toString()]) {
                known = script.sh(script: 'docker inspect -f . "$JD_IMAGE"', returnStatus: true)
            }
            if (known != 0) { pull() }
            return script.withDockerContainer(image: id, args: arguments, toolName: '') { body.call() }
        }

        def pull() {
            script.withEnv(["JD_IMAGE=${id}".toString()]) { script.sh('docker pull "$JD_IMAGE"') }
        }

        def push(String tag = null) {
            def target = tag ? "${id.contains(':') ? id.substring(0, id.lastIndexOf(':')) : id}:${tag}".toString() : id
            script.withEnv(["JD_IMAGE=${id}".toString(), "JD_TAGGED_IMAGE_NAME=${target}".toString()]) {
                script.sh('docker tag "$JD_IMAGE" "$JD_TAGGED_IMAGE_NAME"')
                script.sh('docker push "$JD_TAGGED_IMAGE_NAME"')
            }
        }
    }
}
