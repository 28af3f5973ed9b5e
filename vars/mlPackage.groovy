def call(Map arguments = [:]) {
    return mlStage('mlPackage', arguments)
}
