import org.mlpipeline.PromoteStep

Map call(Map arguments = [:]) {
    return new PromoteStep(this).run(arguments)
}

/** Whether there is something to promote, or to check in production, in this build. */
boolean due(Map arguments = [:]) {
    return new PromoteStep(this).due(arguments)
}
