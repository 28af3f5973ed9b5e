def call(Map arguments = [:]) {
    return mlStage('mlTest', arguments)
}
