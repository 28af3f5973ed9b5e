/** Watches production after a promotion; holds no node between two looks. See mlWatch.txt. */
Map call(Map arguments = [:]) {
    String repeated = mlBuild.repeated()
    if (repeated && !mlRun.result('promote', arguments)) {
        mlOutcome.fail(arguments, "mlWatch: this build was ${repeated} and promoted nothing that it could watch or roll back; start a new build of ${mlBuild.job()}")
    }
    Map result = mlStage('mlWatch', arguments)
    while (result.waits) {
        sleep(time: Math.max(5, Math.min(60, result.left as int)), unit: 'SECONDS')
        result = mlStage('mlWatch', arguments)
    }
    return result
}

/** Whether this build looked after production. */
boolean due(Map arguments = [:]) {
    Map done = mlRun.result('promote', arguments)
    return !mlBuild.leavesOut('mlWatch', arguments) && done != null && done.passed && !done.skipped
}
