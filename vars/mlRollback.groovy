def call(Map arguments = [:]) {
    return mlStage('mlRollback', arguments)
}
