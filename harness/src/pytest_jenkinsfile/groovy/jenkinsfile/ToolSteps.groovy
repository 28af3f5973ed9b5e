package jenkinsfile

import hudson.AbortException

/** Steps for the tools that the scenario configures. */
class ToolSteps {
    /** Variables of a tool, besides its commands on PATH. */
    private static final Map<String, List<String>> HOMES = [
        ant: ['ANT_HOME'], go: ['GOROOT'], gradle: ['GRADLE_HOME'], jdk: ['JAVA_HOME'], maven: ['M2_HOME', 'MAVEN_HOME'], nodejs: ['NODEJS_HOME'],
    ]

    static void register() {
        Steps.define(name: 'tool', main: 'name', needsWorkspace: true, start: { Call call ->
            call.succeed(home(call, call.text('type'), call.text('name')))
        })
        Steps.define(name: 'envVarsForTool', needsWorkspace: true, start: { Call call ->
            String type = call.text('toolId')
            String home = home(call, type, call.text('toolVersion'))
            call.succeed((HOMES[type] ?: []).collect { "${it}=${home}" as String } + ["PATH+${type.toUpperCase()}=${home}/bin" as String])
        })
    }

    private static String home(Call call, String type, String name) {
        Map<String, Map> tools = call.run.scenario.tools as Map
        if (!tools) {
            String kind = type ?: 'TYPE'
            Steps.reportUnsupported(call.run, "the tool '${name}' is not configured in this scenario: tools={'${kind}': ['${name}']}, or --tool ${kind}=${name}")
        }
        String toolType = type in tools.keySet() ? type : tools.find { it.value.containsKey(name) }?.key
        if (toolType == null || !tools[toolType].containsKey(name)) { throw new AbortException("No ${type ?: 'tool'} named ${name} found") }
        tools[toolType][name] ?: new File(call.run.controller.root, "tools/${toolType}/${name}").path
    }
}
