def call(Map arguments = [:]) {
    return mlStage('mlDeploy', arguments)
}
