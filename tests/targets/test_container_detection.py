"""A container is detected by its own process numbers and a marker; either alone is not enough."""

import pytest
from ml_pipeline.targets import container_detection

OWN = "pid:[4026532281]"


@pytest.fixture
def system(tmp_path):
    """Make a root folder with what a process sees of its system."""

    def make(namespace=OWN, cgroup="0::/\n", files=()):
        (tmp_path / "proc/self/ns").mkdir(parents=True)
        (tmp_path / "run").mkdir()
        (tmp_path / "proc/self/ns/pid").symlink_to(namespace)
        (tmp_path / "proc/self/cgroup").write_text(cgroup)
        for file in files:
            (tmp_path / file).touch()
        return tmp_path

    return make


@pytest.mark.parametrize("marker", [".dockerenv", "run/.containerenv"])
def test_a_marker_of_docker_or_podman(system, marker):
    assert container_detection.container(system(files=[marker]), {}) == f"/{marker}"


@pytest.mark.parametrize(
    "cgroup",
    [
        "9:memory:/docker/0123abcd\n0::/\n",
        "0::/kubepods.slice/kubepods-burstable.slice/cri-containerd-0123.scope\n",
        "1:name=systemd:/machine.slice/libpod-0123.scope\n",
    ],
)
def test_a_control_group_of_a_container_runtime(system, cgroup):
    assert container_detection.container(system(cgroup=cgroup), {}) == "/proc/self/cgroup"


def test_a_pod(system):
    name = "KUBERNETES_SERVICE_HOST"
    assert container_detection.container(system(), {name: "10.0.0.1"}) == name


def test_one_that_is_said_to_stay(system):
    root = system(files=[".dockerenv"])
    assert container_detection.container(root, {"ML_PROCESS_TARGET_IN_CONTAINER": "allow"}) is None
    assert (
        container_detection.container(root, {"ML_PROCESS_TARGET_IN_CONTAINER": "true"})
        == "/.dockerenv"
    )


def test_a_marker_on_the_machine_itself_is_a_leftover(system):
    root = system(container_detection.MACHINE, files=[".dockerenv"])
    assert container_detection.container(root, {}) is None


def test_a_machine_that_shares_a_kernel_is_none(system):
    """WSL and system containers have process numbers of their own, too, and stay."""
    assert (
        container_detection.container(system(cgroup="0::/user.slice/session-1.scope\n"), {}) is None
    )


def test_what_cannot_be_read_leaves_the_marker(tmp_path):
    (tmp_path / ".dockerenv").touch()
    assert container_detection.container(tmp_path, {}) == "/.dockerenv"
    (tmp_path / ".dockerenv").unlink()
    assert container_detection.container(tmp_path, {}) is None
