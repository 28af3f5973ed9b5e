def call(Map arguments = [:]) {
    return mlStage('mlReconcile', arguments)
}
