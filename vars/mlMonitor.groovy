import org.mlpipeline.StageStep

Map call(Map arguments = [:]) {
    return new StageStep(this).run('mlMonitor', arguments)
}
