def call(Map arguments = [:]) {
    return mlStage('mlGate', arguments)
}
