import org.mlpipeline.MonitorStep

Map call(Map arguments = [:]) {
    return new MonitorStep(this).run(arguments)
}
