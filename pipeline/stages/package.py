"""Prove that the served model answers as the trained one, then write the bundle."""

from __future__ import annotations

from pipeline import report
from pipeline.bundle import parity, writer
from pipeline.bundle.reader import TOLERANCE
from pipeline.report import Check, ModelRef, Verdict
from pipeline.stages.context import Context, Outcome

NEEDED = ("training.json", "schema.json", "model.onnx", "parity.parquet", "reference.parquet")


def run(context: Context) -> Outcome:
    for name in NEEDED:
        context.take(f"model/{name}", "train")
    if f"model/{writer.NATIVE}" in context.report_of("train").outputs:
        context.take(f"model/{writer.NATIVE}", "train")
    model = context.workdir / "model"
    context.progress("comparing the served model with the trained one", 0.1)
    found = parity.compare(model, calibration=writer.read_training(model).calibration)
    if report.judge(found.checks) is not Verdict.PASS:
        return Outcome(
            summary="the model that would be served does not answer as the trained one",
            checks=found.checks,
            metrics=found.metrics,
        )
    context.progress("writing the bundle", 0.6)
    bundle = writer.write(context.workdir / "bundle", model=model, project=context.project)
    difference = bundle.check_golden()
    golden = Check(
        name="bundle opens and answers its golden rows",
        verdict=Verdict.PASS,
        observed=difference,
        expected=f"at most {TOLERANCE:g} from the trained model",
    )
    return Outcome(
        summary=f"bundle {bundle.digest[:12]}: ONNX and the trained model agree to "
        f"{max(float(check.observed) for check in found.checks if check.observed is not None):.1e}",
        checks=(*found.checks, golden),
        metrics=found.metrics,
        outputs=[bundle.path],
        model=ModelRef(
            name=context.config.registry.name or bundle.project,
            identity=bundle.identity,
            digest=bundle.digest,
        ),
    )
