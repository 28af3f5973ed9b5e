"""``MODEL_CARD.md``: the model, its training data and its inputs.

It holds only what the identity covers, so that it is the same text for the same model.
"""

from __future__ import annotations

import html
import re
import unicodedata

from ml_pipeline.core.report import Profile
from ml_pipeline.features.schema import Feature, FeatureSchema
from ml_pipeline.tasks.loader import read_task
from ml_pipeline.training.training_record import TrainingRecord

HIDDEN = frozenset({"Cc", "Cf", "Co", "Cs", "Cn"})
MARKUP = re.compile(r"([\\`*\[\]|~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])|^[#+-])")
"""Characters with a meaning in Markdown; an underscore inside a word has none."""


def card(training: TrainingRecord, schema: FeatureSchema) -> str:
    """Return the card as Markdown, from the training record and the schema."""
    rows = ", ".join(f"{part} {count}" for part, count in training.rows.items())
    cutoffs = [
        f"| {name} | {date or 'undated'} |" for name, date in training.cutoffs.model_dump().items()
    ]
    features = [_feature(feature) for feature in schema.features]
    task = read_task(training.task)
    noun = "predictions" if task.objective.kind == "regression" else "probabilities"
    labels = [f"| {name} | {_escaped(value)} |" for name, value in task.card_rows()]
    if training.positive_rate is not None:
        labels.append(f"| Positive rate in training | {training.positive_rate:.4f} |")
    unseen = "is treated as missing" if schema.unseen == "missing" else "is refused"
    lines = [
        f"# Model card: {_escaped(training.project)}",
        "",
        f"A {task.title} ({training.estimator}) for the problem `{training.problem}`.",
        f"It answers a row of features with {task.answers}.",
        "",
        "## Training",
        "",
        "| | |",
        "|---|---|",
        f"| Identity | `{training.identity}` |",
        f"| Data fingerprint | `{training.fingerprint}` |",
        f"| Profile | {training.profile} |",
        f"| Rows | {rows} |",
        *_window(training),
        *labels,
        f"| Calibration | {training.calibration} |",
        f"| Seed | {training.seed} |",
        *cutoffs,
        "",
        "## Inputs",
        "",
        f"Request contract `{schema.contract}`.",
        "",
        "By name, or in this order; `null` is a missing value,",
        f"and a category that training never saw {unseen}.",
        "",
        "| feature | kind | seen in training |",
        "|---|---|---|",
        *features,
        "",
        "## Limits",
        "",
        f"The {noun} hold for rows like those of the training period. Measurements on the",
        "holdout, per group and against baselines, are in the reports of the stages evaluate and",
        "gate.",
    ]
    if training.profile is not Profile.FULL:
        lines[2:2] = [
            "**A quick model, trained on little data to test the pipeline. Not for use.**",
            "",
        ]
    return "\n".join(lines) + "\n"


def _window(training: TrainingRecord) -> list[str]:
    """Return the row of the window of training days, where these were not all."""
    if training.window is None:
        return []
    compared = f", chosen of {len(training.windows)} by walk-forward" if training.windows else ""
    return [
        f"| Training window | {training.window.title}, from {training.window.first_day}{compared} |"
    ]


def _feature(feature: Feature) -> str:
    if feature.kind == "categorical":
        seen = ", ".join(map(_escaped, feature.categories))
    elif feature.minimum is None or feature.maximum is None:
        seen = "no value"
    else:
        seen = f"{feature.minimum:.6g} to {feature.maximum:.6g}"
    kind = f"{feature.kind}, optional" if feature.optional else feature.kind
    return f"| {_escaped(feature.name)} | {kind} | {seen} |"


def _escaped(text: str) -> str:
    """Return a name or a value of the data as text: neither Markdown nor HTML, in one line."""
    plain = " ".join(text.split())
    shown = "".join(
        f"U+{ord(each):04X}" if unicodedata.category(each) in HIDDEN else each for each in plain
    )
    return MARKUP.sub(r"\\\1", html.escape(shown)).replace("://", ":&#47;&#47;")
