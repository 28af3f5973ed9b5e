"""No bit of a bundle can change unseen: it is refused, or it is another bundle by its digest."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core.errors import Refused

from tests.bundle.damage import EVERY, FILES, flip, refit

ONCE = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("damage", EVERY, ids=lambda damage: damage.name)
def test_is_refused_in_one_line_that_names_the_file(whole_bundle, damage):
    damage.does(whole_bundle)
    with pytest.raises(Refused, match=damage.error) as caught:
        Bundle.open(whole_bundle)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 1


def test_the_undamaged_one_has_every_file_and_opens(whole_bundle):
    assert {path.name for path in whole_bundle.iterdir()} == set(FILES)
    Bundle.open(whole_bundle).check_golden()


@ONCE
@given(data=st.data())
def test_any_bit_of_any_file(whole_bundle, data):
    known = Bundle.open(whole_bundle).digest
    path = whole_bundle / data.draw(st.sampled_from(FILES))
    whole = path.read_bytes()
    flip(path, data.draw(st.integers(0, len(whole) - 1)), data.draw(st.integers(0, 7)))
    try:
        if path.name == "manifest.json":
            assert digest_or_none(whole_bundle) != known
        else:
            with pytest.raises(Refused, match=path.name):
                Bundle.open(whole_bundle)
    finally:
        path.write_bytes(whole)


def digest_or_none(bundle):
    """Return the digest of a bundle; None where it is refused."""
    try:
        return Bundle.open(bundle).digest
    except Refused:
        return None


@pytest.mark.parametrize("name", FILES[1:])
def test_a_manifest_that_was_made_to_fit_is_another_bundle(whole_bundle, name):
    """Damage that the bundle cannot reveal is found by the digest in the registry."""
    known = Bundle.open(whole_bundle).digest
    content = (whole_bundle / name).read_bytes()
    if name == "golden.json":
        values = json.loads(content)
        values["probabilities"][0] += 1e-9
        content = json.dumps(values).encode()
    elif name == "model.onnx":
        content = content.replace(b"score", b"scorf")
    else:
        content += b" "
    refit(whole_bundle, name, content)
    assert Bundle.open(whole_bundle).digest != known
