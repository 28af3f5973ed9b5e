package jenkinsfile

/** `lock`: resources of the scenario by name or label, and ephemeral ones, which exist while a build holds or awaits them. */
class Locks {
    static void request(Call call) {
        Controller controller = call.run.controller
        List<Map> requested = requirements(call)
        call.log("Trying to acquire lock on ${description(call)}")
        requested*.resource.findAll().findAll { controller.knownLocks.add(it as String) }.each { call.log("Resource [${it}] did not exist. Created.") }
        List<String> names = free(call)
        if (names != null) {
            acquire(call, names)
            return
        }
        requested.each { logReason(call, it) }
        if (call.flag('skipIfLocked')) {
            call.log("${description(call)} is not free, skipping execution ...")
            call.succeed()
        } else {
            call.log("${description(call)} is not free, waiting for execution ...")
            int position = position(call)
            controller.lockQueue.add(position, [run: call.run, call: call.id, resources: possibleResources(call), priority: priority(call)])
            call.log("[${required(requested)}] added into queue at position ${position}")
        }
    }

    /** The requested resources and labels; invalid ones are errors as in Jenkins. */
    private static List<Map> requirements(Call call) {
        List<Map> requested = ([call.arguments] + (call['extra'] as List<Map> ?: [])).findAll { Map one ->
            if (one.resource && one.label) { throw new IllegalArgumentException('Resource label and resource name cannot be specified simultaneously.') }
            if (one.label && !labelled(call, one.label as String)) { throw new IllegalArgumentException("The resource label does not exist: ${one.label}.") }
            one.resource || one.label
        }
        if (requested.empty) { throw new IllegalArgumentException('Either resource label or resource name must be specified.') }
        requested
    }

    /** The resources of the controller with a label, in their order. */
    private static List<String> labelled(Call call, String label) {
        (call.run.scenario.resources as Map<String, List<String>>).findAll { label in it.value }.keySet().toList()
    }

    /** All resources that can satisfy the request. */
    private static List<String> possibleResources(Call call) {
        requirements(call).collectMany { it.resource ? [it.resource as String] : labelled(call, it.label as String) }.unique()
    }

    /** The resources to lock now, or null if too few are free. */
    private static List<String> free(Call call) {
        Controller controller = call.run.controller
        List<String> selected = []
        for (Map one in requirements(call)) {
            List<String> candidates = one.resource ? [one.resource as String] : labelled(call, one.label as String)
            int amount = one.resource ? 1 : (one.quantity ?: candidates.size()) as int
            List<String> available = candidates.findAll { !controller.lockHolders[it] && !(it in selected) }
            if (available.size() < amount) { return null }
            selected.addAll(available.take(amount))
        }
        selected
    }

    private static void logReason(Call call, Map one) {
        Controller controller = call.run.controller
        List<String> candidates = one.resource ? [one.resource as String] : labelled(call, one.label as String)
        List<String> locked = candidates.findAll { controller.lockHolders[it] }.collect { String name ->
            Run holder = controller.lockHolders[name][0] as Run
            "The resource [${name}] is locked by build ${holder.job.name} #${holder.number} ${holder.displayName} since ${controller.lockHolders[name][2]}." as String
        }
        if (one.resource) {
            locked.each { call.log(it) }
            return
        }
        int amount = (one.quantity ?: candidates.size()) as int
        2.times {
            if (candidates.size() < amount) {
                call.log("WARNING: Found ${candidates.size()} possible resource(s). Waiting for correct amount: ${amount}.This may remain stuck, until you create enough resources")
            } else if (candidates.size() - locked.size() < amount) {
                call.log("Found ${candidates.size() - locked.size()} available resource(s). Waiting for correct amount: ${amount}.\nBlocking causes: \n  ${locked[0]}")
                if (locked.size() > 1) { call.log('  ...') }
            }
        }
    }

    private static String required(List<Map> requested) {
        if (requested.every { it.resource }) { return "Required resources: [${requested*.resource.join(', ')}]" }
        requested.collect { Map one ->
            one.resource ? "Required resources: [${one.resource}]" : "Required label: ${one.label}${one.quantity ? ", Number of resources: ${one.quantity}" : ''}"
        }.join(', ')
    }

    private static String description(Call call) {
        List<String> each = requirements(call).collect { Map one ->
            String priority = priority(call) == 0 ? '' : ", Priority: ${priority(call)}"
            String what = one.resource ? "Resource: ${one.resource}" : "Label: ${one.label}${one.quantity ? ", Quantity: ${one.quantity}" : ''}"
            "${what}${priority}" as String
        }
        each.size() == 1 ? "[${each[0]}]" : "[${each.collect { "{${it}}" }.join(',')}]"
    }

    private static int priority(Call call) { (call['priority'] ?: 0) as int }

    /** The position in the queue: after higher priorities, and after equal ones unless `inversePrecedence` is set. */
    private static int position(Call call) {
        List<Map> queue = call.run.controller.lockQueue
        int at = queue.findIndexOf { call.flag('inversePrecedence') ? it.priority <= priority(call) : it.priority < priority(call) }
        at < 0 ? queue.size() : at
    }

    static void tryAgain(Call call) {
        Controller controller = call.run.controller
        Map own = controller.lockQueue.find { it.run.is(call.run) && it.call == call.id }
        boolean others = controller.lockQueue.takeWhile { !it.is(own) }.any { it.resources.intersect(own.resources) }
        List<String> names = others ? null : free(call)
        if (names != null) {
            controller.lockQueue.remove(own)
            acquire(call, names)
        }
    }

    private static void acquire(Call call, List<String> names) {
        Controller controller = call.run.controller
        names.each { controller.lockHolders[it] = [call.run, call.id, new Date(Controller.EPOCH + controller.clock.now)] }
        call.state.names = names
        call.log("Lock acquired on ${description(call)}")
        Map<String, String> variables = [:]
        if (call['variable']) {
            variables[call.text('variable')] = names.join(',')
            names.eachWithIndex { name, index -> variables["${call['variable']}${index}" as String] = name }
        }
        call.run.startBody(call, context: [variables: variables])
    }

    static void release(Call call) {
        if (!call.state.names) { return }
        Controller controller = call.run.controller
        List<String> names = call.state.names as List
        call.log("Lock released on resource ${description(call)}")
        names.each { controller.lockHolders.remove(it) }
        List<Map> waiting = controller.lockQueue.findAll { it.resources.intersect(names) }
        controller.knownLocks.removeAll(names - waiting*.resources.flatten() - (call.run.scenario.resources as Map).keySet())
        controller.wake(waiting)
    }

    static void dequeue(Call call) {
        Controller controller = call.run.controller
        controller.lockQueue.removeAll { it.run.is(call.run) && it.call == call.id }
    }
}
