"""The contract of targets: start, switch, revert, status and stop, for each target."""

import socket

import httpx
import pytest
from ml_pipeline.core.errors import EnvironmentFault, Refused, UsageError
from ml_pipeline.core.home import Home
from ml_pipeline.targets.base import Target

from tests.servers import falsify_golden, served_version


def served(deployment):
    """The fields of a deployment that a restart does not change."""
    return deployment and (deployment.url, deployment.version, deployment.digest)


@pytest.fixture
def other(make_bundle):
    return make_bundle("b", identity="b", weight=2.0)


def test_deploy_serves_at_the_port_and_status_reports_it(target_place, make_bundle):
    target: Target = target_place.target
    assert target.status(target_place.placement) is None
    deployment = target_place.deploy(make_bundle(), 3)
    assert deployment.url == target_place.url
    assert served_version(target_place.url) == 3
    assert target_place.status() == deployment
    assert deployment.bundle == target_place.home / "released" / deployment.digest


def test_the_same_version_again_changes_nothing(target_place, make_bundle):
    first = target_place.deploy(make_bundle(), 1)
    with target_place.handover(make_bundle("again"), 1) as handover:
        assert not handover.changed
        assert handover.former == first
        handover.commit()
    assert target_place.status() == first


def test_after_a_rollover_only_the_new_version_serves(target_place, make_bundle, other):
    first = target_place.deploy(make_bundle(), 1)
    with target_place.handover(other, 2) as handover:
        assert served_version(target_place.url) == 2
        assert served(handover.former) == served(first)
        assert handover.changed
        handover.commit()
    assert served_version(target_place.url) == 2
    assert served(target_place.status()) == served(handover.deployment)
    assert target_place.stop()
    assert not target_place.stop()


def test_after_a_revert_the_former_version_serves(target_place, make_bundle, other):
    first = target_place.deploy(make_bundle(), 1)
    with pytest.raises(RuntimeError), target_place.handover(other, 2):
        assert served_version(target_place.url) == 2
        raise RuntimeError
    assert served_version(target_place.url) == 1
    assert served(target_place.status()) == served(first)


def test_after_a_revert_of_the_first_deployment_nothing_serves(target_place, make_bundle):
    with target_place.handover(make_bundle(), 1) as handover:
        assert handover.former is None
        assert served_version(target_place.url) == 1
    assert target_place.status() is None
    with pytest.raises(httpx.ConnectError):
        served_version(target_place.url)


def test_after_a_change_of_the_port_the_old_port_is_closed(target_place, make_bundle):
    target_place.deploy(make_bundle(), 1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    target_place.with_changes(port=port).deploy(make_bundle("again"), 1)
    assert served_version(f"http://127.0.0.1:{port}") == 1
    with pytest.raises(httpx.ConnectError):
        served_version(target_place.url)


def test_port_0_is_any_port_and_is_kept(target_place, make_bundle, other):
    any_port = target_place.with_changes(port=0)
    first = any_port.deploy(make_bundle(), 1)
    second = any_port.deploy(other, 2)
    assert second.url == first.url
    assert served_version(second.url) == 2


@pytest.mark.parametrize("damage", ["golden", "file"])
def test_a_bad_bundle_leaves_the_old_one(target_place, make_bundle, other, damage):
    first = target_place.deploy(make_bundle(), 1)
    if damage == "golden":
        falsify_golden(other)
    else:
        (other / "model.onnx").write_bytes(b"x")
    with pytest.raises(Refused):
        target_place.deploy(other, 2)
    assert target_place.status() == first
    assert served_version(target_place.url) == 1


def test_the_error_has_the_last_line_of_the_servers_log(target_place, make_bundle):
    bundle = make_bundle()
    falsify_golden(bundle)
    with pytest.raises(Refused, match=r"the server did not start: a golden prediction is 0\.8"):
        target_place.deploy(bundle, 2)
    assert target_place.status() is None


def test_a_port_in_use_is_an_error(machine_target_place, make_bundle):
    with (
        socket.create_server(("127.0.0.1", machine_target_place.port)),
        pytest.raises(
            EnvironmentFault, match=f"port {machine_target_place.port} of 127.0.0.1 is in use by"
        ),
    ):
        machine_target_place.deploy(make_bundle(), 1)
    assert machine_target_place.status() is None


def test_a_public_address_without_a_token_is_refused(machine_target_place, make_bundle):
    with pytest.raises(UsageError, match="is not a loopback address"):
        machine_target_place.with_changes(host="0.0.0.0").deploy(make_bundle(), 1)
    assert machine_target_place.status() is None


def test_the_server_gets_the_token(target_place, make_bundle, monkeypatch):
    monkeypatch.setenv("API_TOKEN", "s3cret")
    target_place.with_changes(host="0.0.0.0", token_env="API_TOKEN").deploy(make_bundle(), 1)
    assert target_place.status().url == target_place.url
    assert httpx.get(f"{target_place.url}/metadata").status_code == 401
    headers = {"authorization": "Bearer s3cret"}
    assert httpx.get(f"{target_place.url}/metadata", headers=headers).status_code == 200


def test_homes_are_independent(target_place, make_bundle, tmp_path):
    target_place.deploy(make_bundle(), 1)
    home = Home(tmp_path / "other")
    home.make()
    other = target_place.with_changes(home=home)
    assert other.status() is None
    assert not other.stop()
    assert served_version(target_place.url) == 1


def test_environments_of_a_home_are_independent(target_place, make_bundle):
    target_place.deploy(make_bundle(), 1)
    production = target_place.with_changes(name="production", port=0)
    production.deploy(make_bundle("again"), 2)
    assert production.stop()
    assert served_version(target_place.url) == 1
