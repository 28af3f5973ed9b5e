"""Raw rows in containers, by the image of docker/server-raw.Dockerfile, and its bounds."""

import time

import httpx
import pandas as pd
import pytest
from ml_pipeline import cli
from ml_pipeline.core.home import Home
from ml_pipeline.targets import server_arguments
from ml_pipeline.targets.docker.target import DockerTarget

from tests.docker.test_target import server_of
from tests.raw_rows import CRASHES, ROW, make_raw_bundle, make_raw_project
from tests.servers import TOKEN, free_port
from tests.targets.conftest import make_place

SECONDS = 120
ROWS = [
    ROW | {"client": f"{number:05}", "spent": number / 7, "visits": number % 5 + 1}
    for number in range(40)
]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_raw_project(tmp_path_factory.mktemp("raw") / "project", package="image_features")


@pytest.fixture(scope="module")
def bundle(project, write_bundle, tmp_path_factory):
    return make_raw_bundle(project, tmp_path_factory.mktemp("raw") / "bundle", write_bundle)


@pytest.fixture(scope="module")
def place(tmp_path_factory, bundle, raw_server_image, gateway_image):
    """An environment of the docker target, with a token, that answers raw rows."""
    images = {"image": raw_server_image, "gateway_image": gateway_image}
    home = Home(tmp_path_factory.mktemp("raw") / "home")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ML_TEST_TOKEN", TOKEN)
        made = make_place(DockerTarget(), home, port=free_port(), **images).with_changes(
            token_env="ML_TEST_TOKEN"
        )
        made.deploy(bundle, 3)
        yield made
        made.stop()


@pytest.fixture(scope="module")
def client(place):
    headers = {"authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=place.url, headers=headers, timeout=SECONDS) as made:
        yield made


def ask(client, rows):
    """Ask again while the worker is started anew, as ``Retry-After`` says."""
    deadline = time.monotonic() + SECONDS
    while True:
        found = client.post("/predict/raw", json={"rows": rows})
        if found.status_code != 503 or time.monotonic() > deadline:
            return found
        time.sleep(1)


def worker_of(server):
    """Return the process ids of the feature workers in a container, as it counts them."""
    script = (
        "import pathlib\n"
        "for file in pathlib.Path('/proc').glob('[0-9]*/cmdline'):\n"
        "    if b'ml_pipeline.scoring.feature_worker' in file.read_bytes().split(b'\\0'):\n"
        "        print(file.parent.name)\n"
    )
    done = server.exec_run(["/opt/ml-pipeline/bin/python", "-c", script])
    assert done.exit_code == 0, done.output
    return [int(line) for line in done.output.split()]


def test_answers_are_those_of_score_to_the_bit(client, project, bundle, tmp_path):
    pd.DataFrame(ROWS).to_csv(tmp_path / "rows.csv", index=False)
    out = tmp_path / "scores.parquet"
    given = ["--in", str(tmp_path / "rows.csv"), "--out", str(out), "--bundle", str(bundle)]
    assert cli.main(["score", *given, "--project", str(project.root)]) == 0
    scored = pd.read_parquet(out).set_index("customer")["probability"]
    found = ask(client, ROWS)
    assert found.status_code == 200, found.text
    assert {
        ROWS[each["row"]]["client"]: each["probability"] for each in found.json()["predictions"]
    } == dict(scored)


def test_invocations_take_raw_columns(client):
    found = client.post("/invocations", json={"dataframe_records": ROWS[:2]})
    assert found.status_code == 200, found.text
    alone = [each["probability"] for each in ask(client, ROWS[:2]).json()["predictions"]]
    assert found.json() == {"predictions": alone}


@pytest.mark.parametrize("end", ["its own code", "a signal"])
def test_a_worker_that_ended_is_started_again(client, place, engine, end):
    assert ask(client, [ROW]).status_code == 200
    server = server_of(engine, place)
    (before,) = worker_of(server)
    if end == "a signal":
        kill = f"import os; os.kill({before}, 9)"
        assert server.exec_run(["/opt/ml-pipeline/bin/python", "-c", kill]).exit_code == 0
    else:
        refused = client.post("/predict/raw", json={"rows": [CRASHES]})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert ask(client, [ROW]).status_code == 200
    (after,) = worker_of(server)
    assert after != before
    server.reload()
    assert server.attrs["RestartCount"] == 0


def test_the_worker_may_write_to_a_bounded_folder_in_memory_only(client, place, engine):
    server = server_of(engine, place)
    host = server.attrs["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert (host["CapDrop"], host["SecurityOpt"]) == (["ALL"], ["no-new-privileges"])
    assert server.attrs["Config"]["User"] == "10001:10001"
    assert host["Tmpfs"] == {server_arguments.SCRATCH: "size=64m,mode=1777,nosuid,nodev,noexec"}
    assert host["Memory"] == 1 << 30
    full = f"{server_arguments.SCRATCH}/x"
    for path, told in (("/opt/ml-pipeline/x", b"Read-only"), (full, b"No space left")):
        script = f"open({path!r}, 'wb').write(bytes(65 << 20))"
        done = server.exec_run(["/opt/ml-pipeline/bin/python", "-c", script])
        assert (done.exit_code, told in done.output) == (1, True), done.output
    server.exec_run(["rm", "-f", full])


def test_the_worker_is_killed_first_when_memory_runs_out(client, place, engine):
    assert ask(client, [ROW]).status_code == 200
    server = server_of(engine, place)
    (worker,) = worker_of(server)
    told = server.exec_run(["cat", f"/proc/{worker}/oom_score_adj"]).output
    assert told.strip() == b"1000"


def test_the_image_has_no_build_files(engine, raw_server_image):
    """Neither the certificates of the build nor pip."""
    found = engine.containers.run(
        raw_server_image, ["-c", "ls /build /opt; true"], entrypoint=["sh"], remove=True
    )
    assert found.decode().split() == ["/opt:", "ml-pipeline"]
    assert "BEGIN CERTIFICATE" not in str(engine.images.get(raw_server_image).history())


def test_the_image_shares_the_layers_of_the_small_image(engine, raw_server_image, server_image):
    layers, others = (
        engine.images.get(name).attrs["RootFS"]["Layers"]
        for name in (raw_server_image, server_image)
    )
    assert layers[: len(others)] == others
    assert len(layers) == len(others) + 2


@pytest.fixture
def small(tmp_path, bundle, server_image, gateway_image):
    """Deploy the bundle with the small image and further settings; return what a raw row gets."""
    placed = []

    def refused(**section):
        port = free_port()
        made = make_place(
            DockerTarget(),
            Home(tmp_path / "home"),
            port=port,
            gateway_image=gateway_image,
            image=server_image,
            **section,
        )
        placed.append(made)
        made.deploy(bundle, 1)
        return httpx.post(f"{made.url}/predict/raw", json={"rows": [ROW]}, timeout=SECONDS)

    yield refused
    for made in placed:
        made.stop()


class TestSmallImage:
    def test_the_error_names_the_line_to_change(self, small):
        found = small(raw_rows=False)
        assert found.status_code == 501
        assert "'environments.staging.raw_rows: true' in ml.yaml" in found.json()["error"]

    def test_an_image_without_the_packages_is_named(self, small):
        found = small()
        assert found.status_code == 501
        assert (
            "set environments.staging.image in ml.yaml to an image of docker/server-raw"
            in (found.json()["error"])
        )
