"""A project whose model takes computed features, and its bundle: for tests of raw rows."""

import yaml
from ml_pipeline import config
from ml_pipeline.bundle import identity, source

PROBLEM = {
    "kind": "table",
    "label": "left",
    "time": "day",
    "entity": "customer",
    "numeric": ["spent", "visits"],
    "categorical": ["c"],
}
MODULE = """
import os

from ml_pipeline import feature


@feature(scope="row")
def x(rows):
    print("what a feature prints goes to the log")
    if (rows["visits"] == 13).any():
        os._exit(7)
    return rows["spent"] / rows["visits"] + ("SECRET" in os.environ)
"""
ROW = {"day": "2024-01-02", "client": "A", "spent": 9.0, "visits": 6, "c": "north"}
"""A row as a client sends it: its feature x is 1.5."""
CRASHES = ROW | {"visits": 13}


def make_raw_project(root, package="raw_features"):
    """Write the project into the folder ``root``; a process loads one ``package`` once."""
    values = {
        "project": "small",
        "problem": PROBLEM,
        "features": {"modules": [f"{package}.mine"], "standard": ["c"]},
        "data": {
            "source": {"kind": "csv", "path": "clients.csv"},
            "columns": {"customer": "client"},
        },
    }
    folder = root / package
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "mine.py").write_text(MODULE)
    (root / "ml.yaml").write_text(yaml.safe_dump(values))
    return config.load(root, environment={})


def make_raw_bundle(project, folder, write_bundle):
    """Write a bundle of ``project``'s code around the small model of x and c."""
    lock = identity.digest_of(identity.locked(project))
    parts = {"data": "d" * 64, "config": "c" * 64, "source": "s" * 64, "lock": lock, "seed": "7"}
    return write_bundle(folder, source=source.archive(project), identity_parts=parts)
