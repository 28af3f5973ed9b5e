import org.mlpipeline.StepArguments
import org.mlpipeline.StageRun

Map call(Map arguments = [:]) {
    Map accepted = new StepArguments(this).accept('mlRun', arguments)
    return new StageRun(this).run(accepted.stage, accepted.arguments, accepted.arguments.arguments ?: [:])
}
