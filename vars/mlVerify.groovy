def call(Map arguments = [:]) {
    return mlStage('mlVerify', arguments)
}
