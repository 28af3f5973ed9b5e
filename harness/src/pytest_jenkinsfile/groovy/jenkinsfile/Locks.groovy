package jenkinsfile

/** `lock`: resources of the scenario by name or label, and others, which exist while a build holds them or waits for them. */
class Locks {
    static void ask(Call call) {
        World world = call.run.world
        List<Map> asked = parts(call)
        call.log("Trying to acquire lock on ${shown(call)}")
        asked*.resource.findAll().findAll { world.knownLocks.add(it as String) }.each { call.log("Resource [${it}] did not exist. Created.") }
        List<String> names = free(call)
        if (names != null) {
            acquire(call, names)
            return
        }
        asked.each { logReason(call, it) }
        if (call.flag('skipIfLocked')) {
            call.log("${shown(call)} is not free, skipping execution ...")
            call.succeed()
        } else {
            call.log("${shown(call)} is not free, waiting for execution ...")
            int position = position(call)
            world.lockQueue.add(position, [run: call.run, call: call.id, resources: wanted(call), priority: priority(call)])
            call.log("[${required(asked)}] added into queue at position ${position}")
        }
    }

    /** What is asked for, refused as Jenkins does where it is no resource. */
    private static List<Map> parts(Call call) {
        List<Map> asked = ([call.arguments] + (call['extra'] as List<Map> ?: [])).findAll { Map one ->
            if (one.resource && one.label) { throw new IllegalArgumentException('Resource label and resource name cannot be specified simultaneously.') }
            if (one.label && !labelled(call, one.label as String)) { throw new IllegalArgumentException("The resource label does not exist: ${one.label}.") }
            one.resource || one.label
        }
        if (asked.empty) { throw new IllegalArgumentException('Either resource label or resource name must be specified.') }
        asked
    }

    /** The resources of the controller that have a label, in their order. */
    private static List<String> labelled(Call call, String label) {
        (call.run.scenario.resources as Map<String, List<String>>).findAll { label in it.value }.keySet().toList()
    }

    /** All that could be taken. */
    private static List<String> wanted(Call call) {
        parts(call).collectMany { it.resource ? [it.resource as String] : labelled(call, it.label as String) }.unique()
    }

    /** The names to take now, or null if there are not enough. */
    private static List<String> free(Call call) {
        World world = call.run.world
        List<String> taken = []
        for (Map one in parts(call)) {
            List<String> candidates = one.resource ? [one.resource as String] : labelled(call, one.label as String)
            int amount = one.resource ? 1 : (one.quantity ?: candidates.size()) as int
            List<String> left = candidates.findAll { !world.lockHolders[it] && !(it in taken) }
            if (left.size() < amount) { return null }
            taken.addAll(left.take(amount))
        }
        taken
    }

    private static void logReason(Call call, Map one) {
        World world = call.run.world
        List<String> candidates = one.resource ? [one.resource as String] : labelled(call, one.label as String)
        List<String> held = candidates.findAll { world.lockHolders[it] }.collect { String name ->
            Run holder = world.lockHolders[name][0] as Run
            "The resource [${name}] is locked by build ${holder.job.name} #${holder.number} ${holder.displayName} since ${world.lockHolders[name][2]}." as String
        }
        if (one.resource) {
            held.each { call.log(it) }
            return
        }
        int amount = (one.quantity ?: candidates.size()) as int
        2.times {
            if (candidates.size() < amount) {
                call.log("WARNING: Found ${candidates.size()} possible resource(s). Waiting for correct amount: ${amount}.This may remain stuck, until you create enough resources")
            } else if (candidates.size() - held.size() < amount) {
                call.log("Found ${candidates.size() - held.size()} available resource(s). Waiting for correct amount: ${amount}.\nBlocking causes: \n  ${held[0]}")
                if (held.size() > 1) { call.log('  ...') }
            }
        }
    }

    private static String required(List<Map> asked) {
        if (asked.every { it.resource }) { return "Required resources: [${asked*.resource.join(', ')}]" }
        asked.collect { Map one ->
            one.resource ? "Required resources: [${one.resource}]" : "Required label: ${one.label}${one.quantity ? ", Number of resources: ${one.quantity}" : ''}"
        }.join(', ')
    }

    private static String shown(Call call) {
        List<String> each = parts(call).collect { Map one ->
            String priority = priority(call) == 0 ? '' : ", Priority: ${priority(call)}"
            String what = one.resource ? "Resource: ${one.resource}" : "Label: ${one.label}${one.quantity ? ", Quantity: ${one.quantity}" : ''}"
            "${what}${priority}" as String
        }
        each.size() == 1 ? "[${each[0]}]" : "[${each.collect { "{${it}}" }.join(',')}]"
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
        boolean others = world.lockQueue.takeWhile { !it.is(own) }.any { it.resources.intersect(own.resources) }
        List<String> names = others ? null : free(call)
        if (names != null) {
            world.lockQueue.remove(own)
            acquire(call, names)
        }
    }

    private static void acquire(Call call, List<String> names) {
        World world = call.run.world
        names.each { world.lockHolders[it] = [call.run, call.id, new Date(World.EPOCH + world.clock.now)] }
        call.state.names = names
        call.log("Lock acquired on ${shown(call)}")
        Map<String, String> variables = [:]
        if (call['variable']) {
            variables[call.text('variable')] = names.join(',')
            names.eachWithIndex { name, index -> variables["${call['variable']}${index}" as String] = name }
        }
        call.run.startBody(call, context: [variables: variables])
    }

    static void release(Call call) {
        if (!call.state.names) { return }
        World world = call.run.world
        List<String> names = call.state.names as List
        call.log("Lock released on resource ${shown(call)}")
        names.each { world.lockHolders.remove(it) }
        List<Map> waiting = world.lockQueue.findAll { it.resources.intersect(names) }
        world.knownLocks.removeAll(names - waiting*.resources.flatten() - (call.run.scenario.resources as Map).keySet())
        world.wake(waiting)
    }

    static void forget(Call call) {
        World world = call.run.world
        world.lockQueue.removeAll { it.run.is(call.run) && it.call == call.id }
    }
}
