"""A bundle that does not verify is refused by every target, and the old model keeps serving."""

import shutil
import threading
from contextlib import contextmanager

import httpx
import pytest
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.core.errors import Refused
from ml_pipeline.targets.released_bundles import release

from tests.bundle.conftest import make_model, whole_bundle
from tests.bundle.damage import EVERY, Damage, flip, regolden
from tests.servers import TOKEN, falsify_golden, served_version

__all__ = ["make_model", "whole_bundle"]

ROW = {"features": [1.0, "north"]}
SERVERS_OWN = [
    Damage("a wrong golden answer", falsify_golden, "a golden prediction is"),
    Damage(
        "a golden row of another model",
        regolden(lambda golden: golden["inputs"][0].__setitem__(0, "text")),
        r"golden\.json: feature 'a' of row 0 is 'text'",
    ),
]
"""Damage that only a started server detects."""


@contextmanager
def predicting(url):
    """Send requests continuously; yield the versions that responded, and the errors."""
    versions, errors, ended = [], [], threading.Event()

    def work():
        headers = {"authorization": f"Bearer {TOKEN}"}
        with httpx.Client(trust_env=False, headers=headers, timeout=30) as client:
            while not ended.wait(0.005):
                try:
                    answer = client.post(f"{url}/predict", json=ROW).raise_for_status()
                    versions.append(answer.json()["model_version"])
                except httpx.HTTPError as error:
                    errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield versions, errors
    finally:
        ended.set()
        thread.join()


def test_every_damaged_bundle_is_refused_and_the_old_model_keeps_serving(
    target_place, make_bundle, whole_bundle, tmp_path, subtests
):
    first = target_place.deploy(make_bundle("old", identity="b"), 1)
    before_names = sorted(path.name for path in (target_place.home / "released").iterdir())
    with predicting(target_place.url) as (versions, errors):
        for damage in [*EVERY, *SERVERS_OWN]:
            with subtests.test(damage.name):
                bundle = tmp_path / "damaged"
                shutil.copytree(whole_bundle, bundle)
                damage.does(bundle)
                before = len(versions)
                try:
                    with pytest.raises(Refused, match=damage.error):
                        target_place.deploy(bundle, 2)
                finally:
                    shutil.rmtree(bundle)
                    bundle.with_name("damaged-outside").unlink(missing_ok=True)
                assert served_version(target_place.url) == 1
                assert len(versions) >= before
    assert errors == []
    assert set(versions) == {1}
    assert target_place.status() == first
    added = {path.name for path in (target_place.home / "released").iterdir()} - set(before_names)
    assert len(added) == len(SERVERS_OWN), "only verified bundles are released"


def test_the_undamaged_bundle_is_deployed(target_place, make_bundle, whole_bundle):
    target_place.deploy(make_bundle("old", identity="b"), 1)
    target_place.deploy(whole_bundle, 2)
    assert target_place.status().version == 2


class TestReleased:
    """The copies in the home are verified like any bundle."""

    @pytest.mark.parametrize("damage", EVERY, ids=lambda damage: damage.name)
    def test_a_damaged_copy_is_replaced(self, place, whole_bundle, damage):
        copy = release(whole_bundle, place.home)
        damage.does(copy.path)
        again = release(whole_bundle, place.home)
        assert (again.path, again.digest) == (copy.path, copy.digest)
        assert Bundle.open(copy.path).digest == copy.digest

    def test_another_bundle_at_the_copys_path_is_replaced(self, place, whole_bundle, make_bundle):
        copy = release(whole_bundle, place.home)
        shutil.rmtree(copy.path)
        shutil.copytree(make_bundle("other"), copy.path)
        assert release(whole_bundle, place.home).digest == copy.digest
        assert Bundle.open(copy.path).digest == copy.digest

    def test_a_link_at_the_copys_path_is_replaced_and_not_followed(
        self, place, whole_bundle, make_bundle
    ):
        copy = release(whole_bundle, place.home)
        shutil.rmtree(copy.path)
        other = make_bundle("other")
        copy.path.symlink_to(other)
        assert release(whole_bundle, place.home).digest == copy.digest
        assert Bundle.open(other).path == other

    def test_a_bundle_that_changes_while_it_is_copied(self, place, whole_bundle, monkeypatch):
        real = shutil.copyfile

        def changed(source, destination):
            real(source, destination)
            if source.name == "source.tar.gz":
                flip(destination, 0)

        monkeypatch.setattr(shutil, "copyfile", changed)
        with pytest.raises(Refused, match=r"source\.tar\.gz has changed"):
            release(whole_bundle, place.home)
        assert list((place.home / "released").iterdir()) == []
