def call(Map arguments = [:]) {
    return mlStage('mlTrain', arguments)
}
