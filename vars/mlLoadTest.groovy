def call(Map arguments = [:]) {
    return mlStage('mlLoadTest', arguments)
}
