def call(Map arguments = [:]) {
    return mlStage('mlShadow', arguments)
}
