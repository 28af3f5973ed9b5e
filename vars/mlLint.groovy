def call(Map arguments = [:]) {
    return mlStage('mlLint', arguments)
}
