"""The command that is printed where an extra's packages are missing."""

import shlex
from importlib import metadata

import pytest
from ml_pipeline.core.extras import install_command
from packaging.requirements import Requirement


@pytest.mark.parametrize(
    ("extra", "names"),
    [
        ("postgres", {"psycopg"}),
    ],
)
def test_install_commands_name_published_packages(extra, names):
    words = shlex.split(install_command(extra))
    assert words[:2] == ["pip", "install"]
    needed = [Requirement(word) for word in words[2:]]
    assert {one.name for one in needed} == names
    for one in needed:
        assert one.specifier.contains(metadata.version(one.name))
