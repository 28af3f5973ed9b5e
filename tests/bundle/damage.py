"""What can be wrong with a bundle, each by a name, and what is said of it."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

FILES = (
    "manifest.json",
    "model.onnx",
    "model.ubj",
    "golden.json",
    "reference.parquet",
    "source.tar.gz",
    "sbom.cdx.json",
    "MODEL_CARD.md",
)
PLACES = {"first": 0, "middle": None, "last": -1}


@dataclass(frozen=True)
class Damage:
    """A way to spoil the bundle in a folder, and a pattern of what is said of it."""

    name: str
    does: Callable[[Path], None]
    error: str


def flip(path, position, bit=0):
    """Turn one bit of a file around."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def edit_manifest(bundle, change):
    """Let ``change`` alter the manifest."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest)
    (bundle / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")


def refit(bundle, name, content):
    """Replace a file, and let the manifest vouch for it."""
    (bundle / name).write_bytes(content)
    entry = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    edit_manifest(bundle, lambda manifest: manifest["files"].update({name: entry}))


def regolden(change):
    """Return a damage that alters the golden rows, for which the manifest vouches."""

    def does(bundle):
        golden = json.loads((bundle / "golden.json").read_text())
        change(golden)
        refit(bundle, "golden.json", json.dumps(golden).encode())

    return does


def middle(path):
    return path.stat().st_size // 2


def _bit(name, place):
    def does(bundle):
        position = PLACES[place]
        flip(bundle / name, middle(bundle / name) if position is None else position)

    return does


def _digest_in_the_manifest(bundle):
    """One bit of what the manifest says of the model: a hexadecimal digit becomes another."""
    path = bundle / "manifest.json"
    entry = json.loads(path.read_text())["files"]["model.onnx"]["sha256"]
    flip(path, path.read_bytes().index(entry.encode()))


def _move_out(bundle):
    outside = bundle.with_name(f"{bundle.name}-outside")
    shutil.move(bundle / "reference.parquet", outside)
    (bundle / "reference.parquet").symlink_to(outside)


def _extra(bundle):
    (bundle / "model.pkl").write_bytes(b"x")


def _cut(bundle):
    path = bundle / "source.tar.gz"
    path.write_bytes(path.read_bytes()[:-1])


def _schema(name):
    return lambda bundle: edit_manifest(bundle, lambda manifest: manifest.update(schema=name))


BITS = [
    Damage(f"a bit of {name}, {place}", _bit(name, place), rf"{name} has changed: its SHA-256")
    for name in FILES[1:]
    for place in PLACES
] + [
    Damage("a bit of manifest.json, first", _bit("manifest.json", "first"), r"manifest\.json is"),
    Damage("a bit of manifest.json, last", _bit("manifest.json", "last"), r"manifest\.json is"),
    Damage(
        "a bit of manifest.json, a digest",
        _digest_in_the_manifest,
        r"model\.onnx('; expected its 'sha256'| has changed: its SHA-256)",
    ),
]

SHAPES = [
    *(
        Damage(f"no {name}", lambda bundle, name=name: (bundle / name).unlink(), rf"{name} cannot")
        for name in FILES
    ),
    Damage("a shorter file", _cut, r"source\.tar\.gz has \d+ bytes; expected \d+"),
    Damage("an extra file", _extra, r"model\.pkl is not in the manifest"),
    Damage("a link", _move_out, r"reference\.parquet is not a regular file"),
]

CONTRACTS = [
    Damage(f"contract {name}", _schema(name), rf"manifest\.json: schema {name!r}; expected")
    for name in ("ml-pipeline/bundle/0", "ml-pipeline/bundle/2", "", None)
]

GOLDEN = [
    Damage(f"golden rows: {what}", regolden(change), r"golden\.json")
    for what, change in {
        "none": lambda golden: golden.update(inputs=[], probabilities=[]),
        "no answers": lambda golden: golden.update(probabilities=[]),
        "fewer answers than rows": lambda golden: golden["probabilities"].pop(),
        "fewer rows than answers": lambda golden: golden["inputs"].pop(),
        "not there": lambda golden: golden.pop("inputs"),
        "without a value": lambda golden: golden.update(
            inputs=[[None] * len(row) for row in golden["inputs"]]
        ),
        "an answer that is NaN": lambda golden: golden["probabilities"].__setitem__(
            0, float("nan")
        ),
        "an answer beyond 1": lambda golden: golden["probabilities"].__setitem__(0, 1.5),
        "an answer that is text": lambda golden: golden["probabilities"].__setitem__(0, "0.5"),
        "an answer that is true": lambda golden: golden["probabilities"].__setitem__(0, True),
        "a short row": lambda golden: golden["inputs"][0].pop(),
    }.items()
]

EVERY = [*BITS, *SHAPES, *CONTRACTS, *GOLDEN]
"""All that whoever opens a bundle refuses, whatever else is known of it."""
