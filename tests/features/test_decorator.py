"""Feature functions of a project, and the import of its modules."""

from __future__ import annotations

import sys

import pytest
from ml_pipeline.core.errors import UsageError
from ml_pipeline.features.decorator import feature, load_modules


@pytest.fixture
def project(tmp_path):
    """Write modules by path into a project's root, and return the root."""

    def write(name="project", **modules):
        root = tmp_path / name
        for path, text in modules.items():
            file = root / f"{path.replace('__in__', '/')}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("from ml_pipeline import feature\n" + text)
        return root

    return write


TWO = """
@feature
def second_letter(bars): return bars.close
@feature(scope="day")
def a_day(day): return day.close
def helper(bars): return bars.close
"""


class TestFeature:
    def test_returns_the_function_itself(self):
        def double(bars):
            return bars * 2

        assert feature(double) is double
        assert feature(scope="row")(double) is double
        assert double(4) == 8

    def test_refuses_another_scope(self):
        with pytest.raises(UsageError, match=r"scope='week'.*expected one of entity, day, row"):
            feature(scope="week")


class TestLoadModules:
    def test_finds_marked_functions_in_the_order_of_the_file(self, project):
        result = load_modules(project(my_features=TWO), ["my_features"])
        assert [(f.name, f.scope) for f in result] == [
            ("second_letter", "entity"),
            ("a_day", "day"),
        ]
        assert result[0].where == "my_features.second_letter"

    def test_modules_come_in_the_order_of_the_configuration(self, project):
        root = project(
            one="@feature\ndef z(bars): return bars.close\n",
            pack__in__two="@feature\ndef a(bars): return bars.close\n",
        )
        assert [f.name for f in load_modules(root, ["one", "pack.two"])] == ["z", "a"]

    def test_imported_functions_are_not_found_twice(self, project):
        root = project(
            base="@feature\ndef a(bars): return bars.close\n",
            more="from base import a\n@feature\ndef b(bars): return bars.close\n",
        )
        assert [f.name for f in load_modules(root, ["more"])] == ["b"]
        assert [f.name for f in load_modules(root, ["base", "more"])] == ["a", "b"]

    def test_root_comes_last_on_the_path(self, project):
        root = project(my_features=TWO)
        load_modules(root, ["my_features"])
        assert sys.path[-1] == str(root)
        assert sys.path.count(str(root)) == 1

    def test_another_project_has_its_own_module_of_the_same_name(self, project):
        for name in ("first", "other"):
            root = project(name, shared=f"@feature\ndef {name}(bars): return bars.close\n")
            assert [f.name for f in load_modules(root, ["shared"])] == [name]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("def a(bars): return 1\n", "mine has no feature function; expected @feature"),
            ("import nowhere_to_be_found\n", "mine cannot be imported: ModuleNotFoundError"),
            ("def broken(:\n", "mine cannot be imported: SyntaxError"),
            ("1 / 0\n", "mine cannot be imported: ZeroDivisionError"),
            ("raise SystemExit(0)\n", "mine cannot be imported: SystemExit"),
            ("feature(scope='week')\n", "mine cannot be imported: UsageError"),
        ],
    )
    def test_an_invalid_module_is_refused_in_one_line(self, project, text, message):
        with pytest.raises(UsageError, match=message) as caught:
            load_modules(project(mine=text), ["mine"])
        assert "\n" not in str(caught.value)

    def test_missing_module_is_named(self, project):
        with pytest.raises(UsageError, match=r"there is no module nowhere\.at_all in"):
            load_modules(project(mine=TWO), ["nowhere.at_all"])

    def test_installed_package_wins_and_is_refused(self, project):
        root = project(pipeline__in__features__in__registry=TWO)
        with pytest.raises(UsageError, match="an installed package has this name"):
            load_modules(root, ["ml_pipeline.features.decorator"])

    def test_two_functions_with_the_same_name_are_refused(self, project):
        same = "@feature\ndef a(bars): return bars.close\n"
        with pytest.raises(UsageError, match=r"one\.a and two\.a have the same name; rename"):
            load_modules(project(one=same, two=same), ["one", "two"])


class TestOwnPackageNamedPipeline:
    """It is the commonest folder name of projects, and has nothing to do with this package."""

    def test_feature_modules_are_imported_from_it(self, project):
        code = "from pipeline.tables import DAYS\n@feature\ndef age(bars): return DAYS\n"
        root = project(
            pipeline__in____init__="",
            pipeline__in__tables="DAYS = 7\n",
            pipeline__in__features=code,
        )
        (age,) = load_modules(root, ["pipeline.features"])
        assert age.function(None) == 7
        assert sys.modules["pipeline"].__file__ == str(root / "pipeline/__init__.py")
        assert sys.modules["ml_pipeline"].__name__ == "ml_pipeline"

    def test_a_file_named_as_a_standard_module_does_not_replace_it(self, project):
        root = project(
            statistics="raise AssertionError('the project\\'s statistics.py was imported')\n",
            own="import statistics\n@feature\ndef middle(bars): return statistics.median([1, 2])\n",
        )
        (middle,) = load_modules(root, ["own"])
        assert middle.function(None) == 1.5
