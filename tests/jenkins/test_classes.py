"""The classes of src: a script in the sandbox can import and call them, and gains nothing by it."""

from __future__ import annotations

import re

import pytest

from tests.jenkins.conftest import ROOT, Deliver, Package

SOURCES = [*ROOT.glob("src/**/*.groovy"), *ROOT.glob("vars/*.groovy")]
LIBRARY = "@Library('ml-pipeline')\n"
UNCHECKED = re.compile(
    r"\b(Eval|GroovyShell|GroovyClassLoader|ProcessBuilder|Runtime|File|Files|URL|Jenkins)\b[.(]"
    r"|\.(evaluate|execute|invokeMethod|setMetaClass|forName|newInstance|load|toURL)\("
    r"|\.(metaClass|class)\.(?!name\b|simpleName\b)"
)
"""What runs a text as code, reaches files of the controller, or gives objects of Jenkins away."""
BY_NAME = re.compile(r"""\.(["'])[^"']*\$[^"']*\1""")
"""A method or property whose name is a value."""


def test_a_jenkinsfile_can_import_a_class(deliver: Deliver) -> None:
    script = "import org.mlpipeline.BuildInfo\necho new BuildInfo(this).id()\n"
    build = deliver(LIBRARY + script)
    assert build.result == "SUCCESS", build.text
    assert re.search(r"^\S+#1$", build.text, re.MULTILINE)


@pytest.mark.parametrize("step", ["me", "mlTrain; me", "ml", "x.mlTrain", ""])
def test_a_class_calls_no_method_by_a_name_that_the_script_chooses(
    deliver: Deliver, package: Package, step: str
) -> None:
    # As seen on a controller: Eval.me ran its text there, outside the sandbox.
    call = f"new Delivery(groovy.util.Eval).runStep([step: '{step}', arguments: '21 * 2'])"
    build = deliver(f'{LIBRARY}import org.mlpipeline.Delivery\necho "ran: ${{{call}}}"\n')
    assert build.result == "FAILURE"
    assert "ran: " not in build.text
    assert package.verbs == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_no_class_offers_what_the_sandbox_refuses(source) -> None:
    code = re.sub(r"/\*.*?\*/|//[^\n]*", "", source.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert [found.group() for found in UNCHECKED.finditer(code)] == []
    by_name = [line.strip() for line in code.splitlines() if BY_NAME.search(line)]
    assert all("name ==~ 'ml[A-Z][A-Za-z]*' ?" in line for line in by_name), by_name
