"""The contract of a target: what start, switch, take back, status and stop do, wherever it runs."""

import socket

import httpx
import pytest
from ml_pipeline.core.errors import EnvironmentFault, Refused, UsageError
from ml_pipeline.core.home import Home
from ml_pipeline.targets.base import Target

from tests.servers import falsify_golden, served_version


def served(deployment):
    """What a deployment says that a restart does not change."""
    return deployment and (deployment.url, deployment.version, deployment.digest)


@pytest.fixture
def other(make_bundle):
    return make_bundle("b", identity="b", weight=2.0)


def test_it_serves_at_the_port_and_says_so(anywhere, make_bundle):
    target: Target = anywhere.target
    assert target.status(anywhere.placement) is None
    deployment = anywhere.deploy(make_bundle(), 3)
    assert deployment.url == anywhere.url
    assert served_version(anywhere.url) == 3
    assert anywhere.status() == deployment
    assert deployment.bundle == anywhere.home / "released" / deployment.digest


def test_the_same_version_again_changes_nothing(anywhere, make_bundle):
    first = anywhere.deploy(make_bundle(), 1)
    with anywhere.handover(make_bundle("again"), 1) as handover:
        assert not handover.changed
        assert handover.former == first
        handover.commit()
    assert anywhere.status() == first


def test_a_rollover_leaves_the_new_one_only(anywhere, make_bundle, other):
    first = anywhere.deploy(make_bundle(), 1)
    with anywhere.handover(other, 2) as handover:
        assert served_version(anywhere.url) == 2
        assert served(handover.former) == served(first)
        assert handover.changed
        handover.commit()
    assert served_version(anywhere.url) == 2
    assert served(anywhere.status()) == served(handover.deployment)
    assert anywhere.stop()
    assert not anywhere.stop()


def test_taken_back_the_former_one_serves(anywhere, make_bundle, other):
    first = anywhere.deploy(make_bundle(), 1)
    with pytest.raises(RuntimeError), anywhere.handover(other, 2):
        assert served_version(anywhere.url) == 2
        raise RuntimeError
    assert served_version(anywhere.url) == 1
    assert served(anywhere.status()) == served(first)


def test_taken_back_with_none_before_nothing_serves(anywhere, make_bundle):
    with anywhere.handover(make_bundle(), 1) as handover:
        assert handover.former is None
        assert served_version(anywhere.url) == 1
    assert anywhere.status() is None
    with pytest.raises(httpx.ConnectError):
        served_version(anywhere.url)


def test_another_port_is_served_and_the_old_one_is_closed(anywhere, make_bundle):
    anywhere.deploy(make_bundle(), 1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    anywhere.with_changes(port=port).deploy(make_bundle("again"), 1)
    assert served_version(f"http://127.0.0.1:{port}") == 1
    with pytest.raises(httpx.ConnectError):
        served_version(anywhere.url)


def test_port_0_takes_any_and_keeps_it(anywhere, make_bundle, other):
    any_port = anywhere.with_changes(port=0)
    first = any_port.deploy(make_bundle(), 1)
    second = any_port.deploy(other, 2)
    assert second.url == first.url
    assert served_version(second.url) == 2


@pytest.mark.parametrize("damage", ["golden", "file"])
def test_a_bad_bundle_leaves_the_old_one(anywhere, make_bundle, other, damage):
    first = anywhere.deploy(make_bundle(), 1)
    if damage == "golden":
        falsify_golden(other)
    else:
        (other / "model.onnx").write_bytes(b"x")
    with pytest.raises(Refused):
        anywhere.deploy(other, 2)
    assert anywhere.status() == first
    assert served_version(anywhere.url) == 1


def test_what_the_server_said_is_told(anywhere, make_bundle):
    bundle = make_bundle()
    falsify_golden(bundle)
    with pytest.raises(Refused, match=r"the server did not start: a golden prediction is 0\.8"):
        anywhere.deploy(bundle, 2)
    assert anywhere.status() is None


def test_a_port_in_use_is_told(on_a_machine, make_bundle):
    with (
        socket.create_server(("127.0.0.1", on_a_machine.port)),
        pytest.raises(
            EnvironmentFault, match=f"port {on_a_machine.port} of 127.0.0.1 is in use by"
        ),
    ):
        on_a_machine.deploy(make_bundle(), 1)
    assert on_a_machine.status() is None


def test_a_public_address_without_a_token_is_refused(on_a_machine, make_bundle):
    with pytest.raises(UsageError, match="can be reached from elsewhere"):
        on_a_machine.with_changes(host="0.0.0.0").deploy(make_bundle(), 1)
    assert on_a_machine.status() is None


def test_the_token_goes_along(anywhere, make_bundle, monkeypatch):
    monkeypatch.setenv("API_TOKEN", "s3cret")
    anywhere.with_changes(host="0.0.0.0", token_env="API_TOKEN").deploy(make_bundle(), 1)
    assert anywhere.status().url == anywhere.url
    assert httpx.get(f"{anywhere.url}/metadata").status_code == 401
    headers = {"authorization": "Bearer s3cret"}
    assert httpx.get(f"{anywhere.url}/metadata", headers=headers).status_code == 200


def test_two_homes_do_not_meet(anywhere, make_bundle, tmp_path):
    anywhere.deploy(make_bundle(), 1)
    home = Home(tmp_path / "other")
    home.make()
    other = anywhere.with_changes(home=home)
    assert other.status() is None
    assert not other.stop()
    assert served_version(anywhere.url) == 1


def test_environments_of_a_home_do_not_meet(anywhere, make_bundle):
    anywhere.deploy(make_bundle(), 1)
    production = anywhere.with_changes(name="production", port=0)
    production.deploy(make_bundle("again"), 2)
    assert production.stop()
    assert served_version(anywhere.url) == 1
