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
from ml_pipeline.targets.kubernetes.image import ImageSpec

from tests.docker.image_registry import image_registry
from tests.servers import await_answer, served_version

REPOSITORY = "ml-pipeline-test/baked"


@pytest.fixture
def bundle(make_bundle):
    return Bundle.open(make_bundle())


@pytest.fixture
def build(engine, bundle):
    built = []

    def build(spec):
        built.append(image.build(bundle, spec))
        return built[-1]

    yield build
    for name in built:
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


def test_the_image_serves_its_bundle_and_no_other(engine, server_image, bundle, build, free_port):
    name = build(ImageSpec(REPOSITORY, server_image))
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


def test_labels_identify_the_bundle(engine, server_image, bundle, build):
    labels = engine.images.get(build(ImageSpec(REPOSITORY, server_image))).labels
    assert labels["ml-pipeline.digest"] == bundle.digest
    assert labels["ml-pipeline.identity"] == bundle.identity
    assert labels["ml-pipeline.project"] == "small"
    assert labels["org.opencontainers.image.version"] == "0.0.test"


def test_a_push_returns_the_digest_in_the_registry(engine, tiny, bundle, build):
    with image_registry() as server:
        repository = f"127.0.0.1:{server.server_port}/team/small"
        digest = image.push(build(ImageSpec(repository, tiny)))
        path = f"/v2/team/small/manifests/{bundle.digest[:12]}"
        assert list(server.manifests) == [path]
        manifest = json.loads(server.manifests[path])
        assert manifest["config"]["digest"] in server.blobs
        content = hashlib.sha256(server.manifests[path]).hexdigest()
    assert digest == f"sha256:{content}"


def test_an_unreachable_registry_is_an_error(tiny, build, free_port):
    name = build(ImageSpec(f"127.0.0.1:{free_port}/small", tiny))
    with pytest.raises(EnvironmentFault, match=r"was not pushed: .*; run 'docker login'"):
        image.push(name)


def test_a_missing_server_image_is_an_error(bundle, engine):
    with pytest.raises(EnvironmentFault, match="has no image localhost:1/none:1, and none is"):
        image.build(bundle, ImageSpec(REPOSITORY, "localhost:1/none:1"))


class TestImageSpecs:
    kubernetes = EnvironmentSection(
        port=1, target="kubernetes", image="server:1", kubernetes={"repository": "r/a"}
    )
    other = EnvironmentSection(port=1)

    def test_one_image_for_all_environments_of_a_repository(self):
        sections = {"a": self.kubernetes, "b": self.kubernetes, "c": self.other}
        assert image.image_specs(sections, ServingSection(), None) == [
            ImageSpec("r/a", "server:1", engines.RAW_IMAGE)
        ]

    def test_without_raw_rows_it_is_the_small_image(self):
        off = self.kubernetes.model_copy(update={"raw_rows": False, "image": None})
        small = [ImageSpec("r/a", None, engines.IMAGE)]
        assert image.image_specs({"a": off}, ServingSection(), None) == small
        no_raw = ServingSection(raw={"enabled": False})
        assert image.image_specs({"a": self.kubernetes}, no_raw, None)[0].standard == engines.IMAGE

    def test_one_repository_with_and_without_raw_rows_is_refused(self):
        off = self.kubernetes.model_copy(update={"raw_rows": False})
        with pytest.raises(UsageError, match=r"b uses repository r/a with raw_rows: false"):
            image.image_specs({"a": self.kubernetes, "b": off}, ServingSection(), None)

    def test_a_repository_from_the_command_line(self):
        serving = ServingSection()
        assert image.image_specs({"c": self.other}, serving, "localhost:5000/x") == [
            ImageSpec("localhost:5000/x", None, engines.RAW_IMAGE)
        ]
        assert image.image_specs({"a": self.kubernetes}, serving, "r/a") == [
            ImageSpec("r/a", "server:1", engines.RAW_IMAGE)
        ]

    @pytest.mark.parametrize("name", ["x:latest", "r:5000/x:1", "x@sha256:0"])
    def test_a_name_with_a_tag_is_refused(self, name):
        with pytest.raises(UsageError, match="without a tag"):
            image.image_specs({}, ServingSection(), name)

    def test_without_a_repository_the_error_names_the_key(self):
        with pytest.raises(UsageError, match=r"environments\.NAME\.kubernetes\.repository, or --i"):
            image.image_specs({"c": self.other}, ServingSection(), None)

    def test_one_repository_with_two_server_images_is_refused(self):
        second = self.kubernetes.model_copy(update={"image": "server:2"})
        with pytest.raises(UsageError, match=r"b uses repository r/a with server image server:2"):
            image.image_specs({"a": self.kubernetes, "b": second}, ServingSection(), None)
