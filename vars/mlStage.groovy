import org.mlpipeline.NamedStageStep

Map call(Map arguments = [:], String stage) {
    return new NamedStageStep(this).run(stage, arguments)
}
