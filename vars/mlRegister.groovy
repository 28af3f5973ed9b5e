def call(Map arguments = [:]) {
    return mlStage('mlRegister', arguments)
}
