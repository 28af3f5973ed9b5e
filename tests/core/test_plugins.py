"""Plug-ins are found by entry point, and a broken one is named with its package."""

from __future__ import annotations

from pathlib import Path

import pytest
from ml_pipeline.config import ProblemSection
from ml_pipeline.core.errors import UsageError
from ml_pipeline.core.plugins import find_plugin, installed_plugins, load_plugin
from ml_pipeline.problems.loader import load_problem
from ml_pipeline.targets.loader import load_target

GROUP = "example.plugins"


def load(name: str, **options: object):
    return load_plugin(GROUP, name, what="example", **options)


class TestLoadPlugin:
    def test_an_installed_one_is_imported(self, install_distribution):
        install_distribution("acme-ml", {GROUP: {"acme": "acme:Acme"}}, acme="class Acme: pass")
        assert load("acme").__name__ == "Acme"
        assert installed_plugins(GROUP)["acme"].distribution == ("acme-ml", "1.0")

    def test_finding_one_imports_nothing(self, install_distribution):
        install_distribution("acme-ml", {GROUP: {"acme": "no_such_module:Acme"}})
        assert find_plugin(GROUP, "acme", what="example").name == "acme"

    def test_an_unknown_name_has_the_nearest_as_hint(self, install_distribution):
        install_distribution("acme-ml", {GROUP: {"acme": "acme:Acme"}})
        with pytest.raises(UsageError, match=r"unknown example 'acm'; did you mean 'acme'\?"):
            load("acm")

    @pytest.mark.parametrize(
        ("source", "reason"),
        [
            ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
            ("other = 1", "AttributeError: module 'acme' has no attribute 'Acme'"),
            ("raise ValueError('bad licence')", "ValueError: bad licence"),
            ("class Acme(:", "SyntaxError: invalid syntax"),
            ("import sys; sys.exit('bye')", "SystemExit: bye"),
        ],
        ids=["import", "attribute", "exception", "syntax", "exit"],
    )
    def test_a_broken_one_is_named_with_its_package(self, install_distribution, source, reason):
        install_distribution("acme-ml", {GROUP: {"acme": "acme:Acme"}}, "2.1", acme=source)
        with pytest.raises(UsageError) as raised:
            load("acme")
        assert (
            "plug-in 'acme' (acme:Acme, entry point of example.plugins in acme-ml 2.1) "
            f"cannot be loaded: {reason}"
        ) in str(raised.value)

    def test_one_of_another_interface_is_refused(self, install_distribution):
        install_distribution("acme-ml", {GROUP: {"acme": "acme:Acme"}}, acme="class Acme: x = 1")
        assert load("acme", attributes=("x",)).x == 1
        with pytest.raises(UsageError, match=r"in acme-ml 1.0\) has no fit, predict"):
            load("acme", attributes=("x", "predict", "fit"))

    def test_two_packages_with_one_name_are_refused(self, install_distribution):
        for package in ("acme-ml", "other-ml"):
            install_distribution(package, {GROUP: {"acme": f"{package[:5].strip('-')}:A"}})
        with pytest.raises(UsageError, match=r"two plug-ins of one name: .*acme-ml.*other-ml"):
            load("acme")


BROKEN = {"ml_pipeline.problems": {"ours": "ours:Ours"}, "ml_pipeline.targets": {"ours": "ours:O"}}


@pytest.mark.parametrize(
    "load_ours",
    [
        lambda: load_problem(ProblemSection(kind="ours"), Path("/project")),
        lambda: load_target("ours"),
    ],
    ids=["problem", "target"],
)
def test_every_kind_of_broken_plugin_is_a_usage_error(install_distribution, load_ours):
    install_distribution("our-ml", BROKEN, ours="import no_such_package")
    with pytest.raises(
        UsageError, match=r"plug-in 'ours' \(ours:O.*in our-ml 1.0\) cannot be"
    ) as e:
        load_ours()
    assert e.value.exit_code == 2
