import org.mlpipeline.ApprovalStep

Map call(Map arguments = [:]) {
    return new ApprovalStep(this).run(arguments)
}

/** Whether there is something to approve in this build. */
boolean due(Map arguments = [:]) {
    return new ApprovalStep(this).due(arguments)
}
