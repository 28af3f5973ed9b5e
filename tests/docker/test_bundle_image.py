"""package --image: a bundle baked into an image, on a real engine."""

import hashlib
import io
import json
import tarfile

import pytest
from docker.errors import ContainerError
from ml_pipeline.bundle.reader import Bundle
from ml_pipeline.config import EnvironmentSection, ServingSection
from ml_pipeline.core.errors import EnvironmentFault, UsageError
from ml_pipeline.targets.docker import engine as engines
from ml_pipeline.targets.kubernetes import image
from ml_pipeline.targets.kubernetes.image import Wanted

from tests.docker.registry import registry
from tests.servers import await_answer, served_version

REPOSITORY = "ml-pipeline-test/baked"


@pytest.fixture
def bundle(make_bundle):
    return Bundle.open(make_bundle())


@pytest.fixture
def bake(engine, bundle):
    made = []

    def bake(wanted):
        made.append(image.bake(bundle, wanted))
        return made[-1]

    yield bake
    for name in made:
        engine.images.remove(name, force=True)


@pytest.fixture
def tiny(engine):
    """An image of one small file, since an engine takes long to push the server's."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("empty"))
    engine.api.import_image_from_data(stream.getvalue(), "ml-pipeline-test-tiny", "latest")
    yield "ml-pipeline-test-tiny:latest"
    engine.images.remove("ml-pipeline-test-tiny:latest", force=True)


def test_it_serves_its_bundle_and_no_other(engine, server_image, bundle, bake, free_port):
    name = bake(Wanted(REPOSITORY, server_image))
    assert name == f"{REPOSITORY}:{bundle.digest[:12]}"
    options = {
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "environment": {"T": "a-token"},
    }
    arguments = ["--published", "0.0.0.0", "--token-env", "T", "--version", "4", "--digest"]
    with pytest.raises(ContainerError, match=f"the image holds bundle {bundle.digest}; expected 0"):
        engine.containers.run(name, [*arguments, "0" * 64], remove=True, **options)
    container = engine.containers.run(
        name,
        ["--published", "127.0.0.1", "--version", "4", "--digest", bundle.digest],
        detach=True,
        ports={"8000/tcp": ("127.0.0.1", free_port)},
        **options,
    )
    try:
        url = f"http://127.0.0.1:{free_port}"
        await_answer(f"{url}/health/ready")
        assert served_version(url) == 4
    finally:
        container.remove(force=True)


def test_labels_tell_what_is_in_it(engine, server_image, bundle, bake):
    labels = engine.images.get(bake(Wanted(REPOSITORY, server_image))).labels
    assert labels["ml-pipeline.digest"] == bundle.digest
    assert labels["ml-pipeline.identity"] == bundle.identity
    assert labels["ml-pipeline.project"] == "small"
    assert labels["org.opencontainers.image.version"] == "0.0.test"


def test_a_push_tells_the_digest_in_the_registry(engine, tiny, bundle, bake):
    with registry() as server:
        repository = f"127.0.0.1:{server.server_port}/team/small"
        digest = image.push(bake(Wanted(repository, tiny)))
        path = f"/v2/team/small/manifests/{bundle.digest[:12]}"
        assert list(server.manifests) == [path]
        manifest = json.loads(server.manifests[path])
        assert manifest["config"]["digest"] in server.blobs
        content = hashlib.sha256(server.manifests[path]).hexdigest()
    assert digest == f"sha256:{content}"


def test_a_registry_that_does_not_answer_is_told(tiny, bake, free_port):
    name = bake(Wanted(f"127.0.0.1:{free_port}/small", tiny))
    with pytest.raises(EnvironmentFault, match=r"was not pushed: .*; docker login"):
        image.push(name)


def test_a_server_image_that_is_not_there_is_told(bundle, engine):
    with pytest.raises(EnvironmentFault, match="has no image localhost:1/none:1, and none is"):
        image.bake(bundle, Wanted(REPOSITORY, "localhost:1/none:1"))


class TestWanted:
    kubernetes = EnvironmentSection(
        port=1, target="kubernetes", image="server:1", kubernetes={"repository": "r/a"}
    )
    other = EnvironmentSection(port=1)

    def test_one_image_for_all_environments_of_a_repository(self):
        sections = {"a": self.kubernetes, "b": self.kubernetes, "c": self.other}
        assert image.wanted(sections, ServingSection(), None) == [
            Wanted("r/a", "server:1", engines.RAW_IMAGE)
        ]

    def test_without_raw_rows_it_is_the_small_image(self):
        off = self.kubernetes.model_copy(update={"raw_rows": False, "image": None})
        small = [Wanted("r/a", None, engines.IMAGE)]
        assert image.wanted({"a": off}, ServingSection(), None) == small
        no_raw = ServingSection(raw={"enabled": False})
        assert image.wanted({"a": self.kubernetes}, no_raw, None)[0].standard == engines.IMAGE

    def test_with_and_without_raw_rows_under_one_name_is_refused(self):
        off = self.kubernetes.model_copy(update={"raw_rows": False})
        with pytest.raises(UsageError, match=r"b bakes into r/a with raw_rows: false"):
            image.wanted({"a": self.kubernetes, "b": off}, ServingSection(), None)

    def test_a_name_that_is_given(self):
        serving = ServingSection()
        assert image.wanted({"c": self.other}, serving, "localhost:5000/x") == [
            Wanted("localhost:5000/x", None, engines.RAW_IMAGE)
        ]
        assert image.wanted({"a": self.kubernetes}, serving, "r/a") == [
            Wanted("r/a", "server:1", engines.RAW_IMAGE)
        ]

    @pytest.mark.parametrize("name", ["x:latest", "r:5000/x:1", "x@sha256:0"])
    def test_a_name_with_a_tag_is_refused(self, name):
        with pytest.raises(UsageError, match="without tag"):
            image.wanted({}, ServingSection(), name)

    def test_nothing_that_says_the_name_is_told(self):
        with pytest.raises(UsageError, match=r"environments\.NAME\.kubernetes\.repository, or --i"):
            image.wanted({"c": self.other}, ServingSection(), None)

    def test_two_server_images_under_one_name_are_refused(self):
        second = self.kubernetes.model_copy(update={"image": "server:2"})
        with pytest.raises(UsageError, match=r"b bakes into r/a on top of server:2"):
            image.wanted({"a": self.kubernetes, "b": second}, ServingSection(), None)
