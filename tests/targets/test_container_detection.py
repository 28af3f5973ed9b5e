"""A container is detected by its PID namespace and a marker; either alone is not sufficient."""

import pytest
from ml_pipeline.targets import container_detection

OWN = "pid:[4026532281]"


@pytest.fixture
def system(tmp_path):
    """Create a root folder with the files that the detection reads."""

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
    assert container_detection.container_marker(system(files=[marker]), {}) == f"/{marker}"


@pytest.mark.parametrize(
    "cgroup",
    [
        "9:memory:/docker/0123abcd\n0::/\n",
        "0::/kubepods.slice/kubepods-burstable.slice/cri-containerd-0123.scope\n",
        "1:name=systemd:/machine.slice/libpod-0123.scope\n",
    ],
)
def test_a_control_group_of_a_container_runtime(system, cgroup):
    assert container_detection.container_marker(system(cgroup=cgroup), {}) == "/proc/self/cgroup"


def test_a_pod(system):
    name = "KUBERNETES_SERVICE_HOST"
    assert container_detection.container_marker(system(), {name: "10.0.0.1"}) == name


def test_the_variable_allows_a_long_lived_container(system):
    root = system(files=[".dockerenv"])
    assert (
        container_detection.container_marker(root, {"ML_PROCESS_TARGET_IN_CONTAINER": "allow"})
        is None
    )
    assert (
        container_detection.container_marker(root, {"ML_PROCESS_TARGET_IN_CONTAINER": "true"})
        == "/.dockerenv"
    )


def test_a_marker_file_on_a_host_is_ignored(system):
    root = system(container_detection.HOST_PID_NAMESPACE, files=[".dockerenv"])
    assert container_detection.container_marker(root, {}) is None


def test_a_pid_namespace_alone_is_no_container(system):
    """WSL and system containers have their own PID namespace, too, and are long-lived."""
    assert (
        container_detection.container_marker(system(cgroup="0::/user.slice/session-1.scope\n"), {})
        is None
    )


def test_without_proc_the_marker_decides(tmp_path):
    (tmp_path / ".dockerenv").touch()
    assert container_detection.container_marker(tmp_path, {}) == "/.dockerenv"
    (tmp_path / ".dockerenv").unlink()
    assert container_detection.container_marker(tmp_path, {}) is None
