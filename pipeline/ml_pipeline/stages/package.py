"""Stage ``package``: compare the exported model with the trained one, and write the bundle."""

from __future__ import annotations

from ml_pipeline.bundle import parity, writer
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core import report
from ml_pipeline.core.artefacts import (
    BUNDLE,
    MODEL,
    ONNX_FILE,
    PARITY_FILE,
    REFERENCE_FILE,
    SCHEMA_FILE,
    TRAINING_FILE,
)
from ml_pipeline.core.report import Check, ModelRef, Verdict
from ml_pipeline.stages.context import Context, Outcome
from ml_pipeline.stages.table import PackageFlags
from ml_pipeline.targets.kubernetes import image
from ml_pipeline.tasks.loader import read_task

NEEDED = (TRAINING_FILE, SCHEMA_FILE, ONNX_FILE, PARITY_FILE, REFERENCE_FILE)


def run(context: Context[PackageFlags]) -> Outcome:
    """Write the bundle; with ``--image`` or ``--push`` it is baked into images as well.

    Raises:
        UsageError: a file is not the one that train made, or nothing says what the image is called.
        EnvironmentFault: the engine or the registry does not answer or refuses.
    """
    wanted = _wanted(context)
    for name in NEEDED:
        context.take(f"{MODEL}/{name}")
    model = context.workdir / MODEL
    training = writer.read_training(model)
    native = f"{MODEL}/{writer.native_file(training)}"
    if native in context.report_of("train").outputs:
        context.take(native)
    context.progress("comparing the served model with the trained one", 0.1)
    task = read_task(training.task)
    found = parity.compare(model, training)
    if report.judge(found.checks) is not Verdict.PASS:
        return Outcome(
            summary="the exported model does not predict as the trained one",
            checks=found.checks,
            metrics=found.metrics,
        )
    context.progress("writing the bundle", 0.6)
    bundle = writer.write(context.workdir / BUNDLE, model=model, project=context.project)
    difference = bundle.check_golden()
    golden = Check(
        name="bundle opens and answers its golden rows",
        verdict=Verdict.PASS,
        observed=difference,
        expected=f"at most {task.tolerance:g} from the trained model",
    )
    images = _images(context, bundle, wanted)
    return Outcome(
        summary=f"bundle {bundle.digest[:12]}: ONNX and the trained model agree to "
        f"{max(float(check.observed) for check in found.checks if check.observed is not None):.1e}",
        checks=(*found.checks, golden, *images),
        metrics=found.metrics,
        outputs=[bundle.path],
        model=ModelRef(
            name=context.config.registry.name or bundle.project,
            identity=bundle.identity,
            digest=bundle.digest,
        ),
    )


def _wanted(context: Context[PackageFlags]) -> list[image.ImageSpec]:
    name, push = context.flags.image, context.flags.push
    if name is None and not push:
        return []
    return image.image_specs(context.config.environments, context.config.serving, name)


def _images(
    context: Context[PackageFlags], bundle: Bundle, wanted: list[image.ImageSpec]
) -> list[Check]:
    push = context.flags.push
    checks = []
    for one in wanted:
        if push and context.quick:
            checks.append(_skipped(one))
            continue
        context.progress(f"baking {one.repository}", 0.8)
        name = image.build(bundle, one)
        observed = f"pushed, {image.push(name)}" if push else "on the engine"
        checks.append(
            Check(
                name=f"image {name}",
                verdict=Verdict.PASS,
                observed=observed,
                expected="the bundle on top of the server's image",
            )
        )
    return checks


def _skipped(one: image.ImageSpec) -> Check:
    return Check(
        name=f"image {one.repository}",
        verdict=Verdict.SKIPPED,
        required=False,
        expected="a model that can be registered",
        why="a quick model is not pushed",
    )
