def call(Map arguments = [:]) {
    return mlStage('mlValidateData', arguments)
}
