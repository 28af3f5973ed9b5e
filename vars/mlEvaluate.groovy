def call(Map arguments = [:]) {
    return mlStage('mlEvaluate', arguments)
}
