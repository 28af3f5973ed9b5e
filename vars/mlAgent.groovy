import org.mlpipeline.AgentStep

Object call(Map arguments = [:], Closure body) {
    return new AgentStep(this).run(arguments, body)
}
