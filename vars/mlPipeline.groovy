import org.mlpipeline.Delivery
import org.mlpipeline.DeliveryBranches
import org.mlpipeline.Milestones

void call(Map arguments = [:]) {
    new Delivery(this).run(arguments)
}

/** Whether this branch or tag delivers to production, by the arguments `branches` and `tags`. */
boolean delivers(Map arguments = [:]) {
    return new DeliveryBranches(this).delivers(arguments)
}

/** Ends older builds of this branch that still run. */
void newestOnly() {
    new Milestones(this).endOlderBuilds()
}
