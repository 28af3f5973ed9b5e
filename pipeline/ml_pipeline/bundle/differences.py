"""The differences between two bundles of the same identity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ml_pipeline.core import artefacts

FEATURES_SHOWN = 3


def differences(former: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[str, str]:
    """Compare two manifests of one identity.

    Args:
        former: of the bundle that was registered.
        new: of the bundle that was made again.

    Returns:
        What differs, as part of a sentence, and where to look for the cause.
    """
    features = list(_features(former, new))
    training = [
        f"training.{key} ({former['training'].get(key)!r}, now {new['training'].get(key)!r})"
        for key in sorted({*former["training"], *new["training"]})
        if former["training"].get(key) != new["training"].get(key)
        and key not in ("identity", "identity_parts")
    ]
    files = [
        name
        for name in sorted({*former["files"], *new["files"]})
        if former["files"].get(name) != new["files"].get(name)
    ]
    more = len(features) - FEATURES_SHOWN
    differences = [*features[:FEATURES_SHOWN], *([f"{more} more features"] if more > 0 else [])]
    differences += [*training[:1], *([f"content of {', '.join(files)}"] if files else [])]
    if features:
        hint = (
            "the code of these features is random or reads something else than the data: "
            "the clock, a file, the network"
        )
    elif artefacts.ONNX_FILE in files:
        hint = (
            "the fit does not repeat itself: look at train.threads, at random code of the project "
            "and at the processor of the machine"
        )
    else:
        hint = "look for what the project's code reads from elsewhere than the data"
    return "; ".join(differences) or "the manifest", hint


def _features(former: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Describe the features whose range, categories or position differ."""
    before = [feature["name"] for feature in former["features"]["features"]]
    after = {feature["name"]: feature for feature in new["features"]["features"]}
    for feature in former["features"]["features"]:
        name = feature["name"]
        if name not in after:
            yield f"feature '{name}', which is gone"
        elif feature != after[name]:
            yield f"feature '{name}': {_shown(feature)}, now {_shown(after[name])}"
    for name in after:
        if name not in before:
            yield f"feature '{name}', which is new"
    if set(before) == set(after) and before != [*after]:
        yield f"the order of the features: {', '.join(before)}, now {', '.join(after)}"


def _shown(feature: Mapping[str, Any]) -> str:
    if feature["kind"] == "categorical":
        return f"{len(feature['categories'])} categories"
    if feature.get("minimum") is None:
        return "no value"
    return f"{feature['minimum']:.6g} to {feature['maximum']:.6g}"
