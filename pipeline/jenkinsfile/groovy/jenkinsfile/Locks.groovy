package jenkinsfile

/** `lock`: resources made when they are asked for and gone when nobody holds them or waits. */
class Locks {
    static void ask(Call call) {
        World world = call.run.world
        List<String> names = resources(call)
        if (names.empty) { throw new IllegalArgumentException('Either resource label or resource name must be specified.') }
        call.state.names = names
        String shown = shown(call)
        call.log("Trying to acquire lock on ${shown}")
        names.findAll { world.knownLocks.add(it) }.each { call.log("Resource [${it}] did not exist. Created.") }
        String taken = names.find { world.lockHolders[it] }
        if (taken == null) {
            acquire(call)
            return
        }
        Run holder = world.lockHolders[taken][0] as Run
        call.log("The resource [${taken}] is locked by build ${holder.job.name} #${holder.number} ${holder.displayName} since ${world.lockHolders[taken][2]}.")
        if (call.flag('skipIfLocked')) {
            call.log("${shown} is not free, skipping execution ...")
            call.succeed()
        } else {
            call.log("${shown} is not free, waiting for execution ...")
            int position = position(call)
            world.lockQueue.add(position, [run: call.run, call: call.id, resources: names, priority: priority(call)])
            call.log("[Required resources: [${names.join(', ')}]] added into queue at position ${position}")
        }
    }

    /** The names, refused as Jenkins does where they are of no resource. */
    private static List<String> resources(Call call) {
        List<Map> asked = [call.arguments] + (call['extra'] as List<Map> ?: [])
        asked.each { Map one ->
            if (one.resource && one.label) { throw new IllegalArgumentException('Resource label and resource name cannot be specified simultaneously.') }
            if (one.label) { throw new IllegalArgumentException("The resource label does not exist: ${one.label}.") }
        }
        asked.collect { it.resource as String }.findAll()
    }

    private static String shown(Call call) {
        List<String> names = call.state.names as List
        String priority = priority(call) == 0 ? '' : ", Priority: ${priority(call)}"
        names.size() == 1 ? "[Resource: ${names[0]}${priority}]" : "[${names.collect { "{Resource: ${it}${priority}}" }.join(',')}]"
    }

    private static int priority(Call call) { (call['priority'] ?: 0) as int }

    /** Behind those of a higher priority, and behind its equals unless precedence is inverse. */
    private static int position(Call call) {
        List<Map> queue = call.run.world.lockQueue
        int at = queue.findIndexOf { call.flag('inversePrecedence') ? it.priority <= priority(call) : it.priority < priority(call) }
        at < 0 ? queue.size() : at
    }

    static void tryAgain(Call call) {
        World world = call.run.world
        Map own = world.lockQueue.find { it.run.is(call.run) && it.call == call.id }
        List<String> names = call.state.names as List
        boolean others = world.lockQueue.takeWhile { !it.is(own) }.any { it.resources.intersect(names) }
        if (!others && !names.any { world.lockHolders[it] }) {
            world.lockQueue.remove(own)
            acquire(call)
        }
    }

    private static void acquire(Call call) {
        World world = call.run.world
        List<String> names = call.state.names as List
        names.each { world.lockHolders[it] = [call.run, call.id, new Date(World.EPOCH + world.clock.now)] }
        call.state.held = true
        call.log("Lock acquired on ${shown(call)}")
        Map<String, String> variables = [:]
        if (call['variable']) {
            variables[call.text('variable')] = names.join(',')
            names.eachWithIndex { name, index -> variables["${call['variable']}${index}" as String] = name }
        }
        call.run.startBody(call, context: [variables: variables])
    }

    static void release(Call call) {
        if (!call.state.held) { return }
        World world = call.run.world
        List<String> names = call.state.names as List
        call.log("Lock released on resource ${shown(call)}")
        names.each { world.lockHolders.remove(it) }
        List<Map> waiting = world.lockQueue.findAll { it.resources.intersect(names) }
        world.knownLocks.removeAll(names - waiting*.resources.flatten())
        world.wake(waiting)
    }

    static void forget(Call call) {
        World world = call.run.world
        world.lockQueue.removeAll { it.run.is(call.run) && it.call == call.id }
    }
}
