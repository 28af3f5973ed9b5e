import org.mlpipeline.WatchStep

Map call(Map arguments = [:]) {
    return new WatchStep(this).run(arguments)
}

/** Whether there is a promotion to watch in this build. */
boolean due(Map arguments = [:]) {
    return new WatchStep(this).due(arguments)
}
