def call(Map arguments = [:]) {
    String repeated = mlLibrary.repeated()
    if (repeated) {
        error("mlPromote: this build was ${repeated}, and such a build never promotes; start a new one")
    }
    return mlStage('mlPromote', arguments)
}

/** Whether this build has an approval to act on. */
boolean due() {
    Map approval = mlRun.result('approve')
    return approval != null && approval.passed && !approval.skipped && !mlLibrary.repeated()
}
