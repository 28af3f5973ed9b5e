"""What is said of two bundles that claim one identity."""

import pytest
from ml_pipeline.bundle.differences import differences


def manifest(*features, training=None, **files):
    return {
        "features": {"features": list(features)},
        "training": {"identity": "a", **(training or {})},
        "files": {name.replace("_", "."): {"sha256": sha} for name, sha in files.items()},
    }


def number(name, maximum=1.0):
    return {"name": name, "kind": "numeric", "minimum": 0.0, "maximum": maximum}


def text(name, *categories):
    return {"name": name, "kind": "categorical", "categories": list(categories)}


@pytest.mark.parametrize(
    ("former", "new", "expected", "hint"),
    [
        (
            manifest(number("a"), number("noise", 0.5), model_onnx="1"),
            manifest(number("a"), number("noise", 0.7), model_onnx="2"),
            "feature 'noise': 0 to 0.5, now 0 to 0.7; content of model.onnx",
            "random or reads something else",
        ),
        (
            manifest(text("c", "x")),
            manifest(text("c", "x", "y")),
            "feature 'c': 1 categories, now 2 categories",
            "random or reads something else",
        ),
        (
            manifest(number("a"), number("b")),
            manifest(number("b"), number("a")),
            "the order of the features: a, b, now b, a",
            "random or reads something else",
        ),
        (
            manifest(number("a")),
            manifest(number("b")),
            "feature 'a', which is gone; feature 'b', which is new",
            "random or reads something else",
        ),
        (
            manifest(number("a"), training={"best_round": 5}, model_onnx="1", golden_json="1"),
            manifest(number("a"), training={"best_round": 6}, model_onnx="2", golden_json="2"),
            "training.best_round (5, now 6); content of golden.json, model.onnx",
            "the fit does not repeat itself",
        ),
        (
            manifest(number("a"), source_tar="1"),
            manifest(number("a"), source_tar="2"),
            "content of source.tar",
            "reads from elsewhere",
        ),
    ],
)
def test_what_differs_is_named_with_where_to_look(former, new, expected, hint):
    found, where = differences(former, new)
    assert found == expected
    assert hint in where


def test_of_many_features_three_are_named():
    former = manifest(*(number(f"f{place}") for place in range(9)))
    new = manifest(*(number(f"f{place}", 2.0) for place in range(9)))
    found, _ = differences(former, new)
    assert found.endswith("feature 'f2': 0 to 1, now 0 to 2; 6 more features")
