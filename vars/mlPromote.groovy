def call(Map arguments = [:]) {
    String repeated = mlBuild.repeated()
    if (repeated) {
        mlOutcome.fail(arguments, "mlPromote: this build was ${repeated}, and such a build never promotes; start a new one")
    }
    return mlStage('mlPromote', arguments)
}

/** Whether this build has an approval to act on, or a champion to look after since nothing is new. */
boolean due(Map arguments = [:]) {
    Map approval = mlRun.result('approve', arguments)
    boolean approved = approval != null && approval.passed && !approval.skipped
    return !mlBuild.leavesOut('mlPromote', arguments) && (approved || mlRun.result('gate', arguments)?.nothing)
}
