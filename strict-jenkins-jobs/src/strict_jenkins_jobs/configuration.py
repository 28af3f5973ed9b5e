"""Compares configurations of jobs by meaning.

Jenkins stores a job as XML. The XML of jenkins-job-builder and that of Jenkins after a page of the
job is saved differ in plugin versions, order of fields and fields at their defaults, so their texts
cannot be compared. Rules of the comparison:

- the attributes ``plugin`` and ``reference`` and the elements ``owner`` are ignored;
- fields have no order, items of a list have one (an item is named by its class, with dots);
- absent, empty and ``false`` fields are equal;
- fields that Jenkins derives or moves (``BY_JENKINS``, ``_is_default``) are ignored.

Everything else counts, also settings that only the server has.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from strict_jenkins_jobs.errors import UsageError

FOLDER = "com.cloudbees.hudson.plugins.folder.Folder"
MULTIBRANCH = "org.jenkinsci.plugins.workflow.multibranch.WorkflowMultiBranchProject"
FOLDERS = (FOLDER, MULTIBRANCH)
MARKER = "Defined in YAML; change it there."
"""Ends the description of each job that is made from YAML. Jenkins shows descriptions as text."""
MARKERS = (MARKER, "<!-- Managed by Jenkins Job Builder -->")
"""Also the comment that jenkins-job-builder writes, by which earlier jobs are known."""

BY_JENKINS = frozenset(
    {
        "actions",  # of Jenkins and its plugins
        "folderViews", "healthMetrics", "icon", "primaryView", "views", "viewsTabBar",
        # written by jenkins-job-builder for every kind of job, unknown to folders:
        "buildWrappers", "canRoam", "publishers", "scm",
    }
)  # fmt: skip
"""Fields of a folder or multibranch project that are no part of what YAML says about it."""

SECRET = re.compile(r"pass(word|phrase)|secret|token|private_?key|api_?key", re.IGNORECASE)
ENCRYPTED = re.compile(r"\{[A-Za-z0-9+/=]{16,}\}")
MAX_SHOWN = 60


@dataclass(frozen=True)
class Difference:
    """One place where server and YAML differ; ``None`` is "absent"."""

    path: str
    on_server: str | None
    in_yaml: str | None

    def __str__(self) -> str:
        if self.on_server is None:
            return f"{self.path}: add {self.in_yaml}".rstrip()
        if self.in_yaml is None:
            return f"{self.path}: remove {self.on_server}".rstrip()
        return f"{self.path}: {self.on_server} -> {self.in_yaml}"


def parse(text: str, name: str) -> ET.Element:
    """Return the root of a configuration.

    Raises:
        UsageError: it is not XML, or declares entities.
    """
    # Jenkins declares XML 1.1, which the standard library does not read
    body = re.sub(r"^\s*<\?xml[^>]*\?>", "", text, count=1)
    if "<!DOCTYPE" in body:
        raise UsageError(f"the configuration of '{name}' declares a document type")
    try:
        return ET.fromstring(body)  # noqa: S314  entities need a document type
    except ET.ParseError as error:
        raise UsageError(f"the configuration of '{name}' is not XML: {error}") from None


def is_managed(root: ET.Element) -> bool:
    """Return whether this job was made from YAML: its description ends with a marker."""
    return (root.findtext("description") or "").rstrip().endswith(MARKERS)


def marked_description(text: str) -> str:
    """Return the description of a job that is made from YAML."""
    return f"{text.removesuffix(MARKERS[1]).rstrip()} {MARKER}".lstrip()


def merged(in_yaml: ET.Element, on_server: ET.Element) -> ET.Element:
    """Return what to send so that the server keeps what YAML does not set.

    A folder's configuration also holds its credentials, permissions and libraries, as properties;
    jenkins-job-builder's own update would wipe them. ``disabled`` stays as it is
    on the server unless YAML sets it.
    """
    result = copy.deepcopy(in_yaml)
    if result.find("disabled") is None and (disabled := on_server.find("disabled")) is not None:
        result.append(copy.deepcopy(disabled))
    if result.tag in FOLDERS:
        own = result.find("properties")
        if own is None:
            own = ET.SubElement(result, "properties")
        known = {item.tag for item in own}
        own.extend(copy.deepcopy(item) for item in _properties(on_server) if item.tag not in known)
    return result


def text_of(root: ET.Element) -> str:
    """Return a configuration as it is sent."""
    declaration = '<?xml version="1.0" encoding="utf-8"?>\n'
    return declaration + ET.tostring(root, encoding="unicode") + "\n"


def differences(on_server: ET.Element, in_yaml: ET.Element) -> tuple[Difference, ...]:
    """Return where two configurations of a job differ in meaning, in document order."""
    return tuple(_compare(_normalized(on_server), _normalized(in_yaml), ""))


# --- normalizing --------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Node:
    tag: str
    attributes: tuple[tuple[str, str], ...]
    text: str
    children: tuple[_Node, ...]

    @property
    def is_field(self) -> bool:
        return "." not in self.tag


def _normalized(root: ET.Element) -> _Node:
    children = [item for item in root if root.tag not in FOLDERS or item.tag not in BY_JENKINS]
    return _Node(root.tag, (), "", _children(children, root))


def _children(items: list[ET.Element], parent: ET.Element) -> tuple[_Node, ...]:
    nodes = [_node(item) for item in items if item.tag != "owner" and not _is_default(item, parent)]
    kept = [node for node in nodes if not _is_empty(node)]
    if all(node.is_field for node in kept):
        kept.sort(key=lambda node: node.tag)
    return tuple(kept)


def _node(element: ET.Element) -> _Node:
    attributes = {k: v for k, v in element.attrib.items() if k not in ("plugin", "reference")}
    text = "" if len(element) else (element.text or "").replace("\r\n", "\n")
    return _Node(
        element.tag,
        tuple(sorted(attributes.items())),
        text if text.strip() else "",
        _children(list(element), element),
    )


def _is_empty(node: _Node) -> bool:
    if not node.is_field or node.children:
        return False
    if dict(node.attributes).get("class") in ("empty-list", "list", "vector"):
        return not node.text
    return not node.attributes and node.text in ("", "false")


def _is_default(item: ET.Element, parent: ET.Element) -> bool:
    """Return whether Jenkins adds this element when the page of a multibranch project is saved."""
    if item.tag == "strategy":
        strategy = _node(item)
        plain = (("class", "jenkins.branch.DefaultBranchPropertyStrategy"),)
        return strategy.attributes == plain and not strategy.children
    if item.tag == "apiUri":
        return item.text == "https://api.github.com"
    if item.tag == "repositoryUrl":
        owner, name = parent.findtext("repoOwner"), parent.findtext("repository")
        return item.text == f"https://github.com/{owner}/{name}"
    return False


def _properties(root: ET.Element) -> list[ET.Element]:
    properties = root.find("properties")
    return [] if properties is None else list(properties)


# --- comparing ----------------------------------------------------------------------------------


def _compare(on_server: _Node, in_yaml: _Node, path: str) -> Iterator[Difference]:
    before, after = dict(on_server.attributes), dict(in_yaml.attributes)
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            yield Difference(f"{path}@{key}", _last(before.get(key)), _last(after.get(key)))
    if on_server.text != in_yaml.text:
        yield _text_difference(path, on_server, in_yaml)
    tags = list(dict.fromkeys(node.tag for node in (*on_server.children, *in_yaml.children)))
    differs = False
    for tag in tags:
        old = [node for node in on_server.children if node.tag == tag]
        new = [node for node in in_yaml.children if node.tag == tag]
        for index in range(max(len(old), len(new))):
            name = _name(tag) if max(len(old), len(new)) == 1 else f"{_name(tag)}[{index}]"
            below = f"{path}/{name}" if path else name
            if index >= len(new):
                differs = True
                yield Difference(below, _display(old[index]), None)
            elif index >= len(old):
                differs = True
                yield Difference(below, None, _display(new[index]))
            else:
                for difference in _compare(old[index], new[index], below):
                    differs = True
                    yield difference
    if not differs and on_server.children != in_yaml.children:
        order = ", ".join(_name(node.tag) for node in in_yaml.children)
        yield Difference(path, "another order", order)


def _text_difference(path: str, on_server: _Node, in_yaml: _Node) -> Difference:
    old, new = on_server.text, in_yaml.text
    if "\n" in old or "\n" in new:
        olds, news = [*old.splitlines(), ""], [*new.splitlines(), ""]
        number = next(
            (n for n, (a, b) in enumerate(zip(olds, news, strict=False)) if a != b),
            min(len(olds), len(news)) - 1,
        )
        path, old, new = f"{path} line {number + 1}", olds[number], news[number]
    return Difference(path, _value(on_server.tag, old), _value(on_server.tag, new))


def _display(node: _Node) -> str:
    if node.children:
        return ""
    attributes = dict(node.attributes)
    return _value(node.tag, node.text) if node.text else _last(attributes.get("class")) or ""


def _value(tag: str, text: str) -> str:
    """Return a value as a message may show it: short, and never a secret."""
    if SECRET.search(tag) or ENCRYPTED.search(text):
        return "****" if text else "''"
    return repr(text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}...")


def _name(tag: str) -> str:
    """Return a class's name without its package, as XStream escapes it."""
    return tag.rsplit(".", 1)[-1].replace("__", "_").replace("_-", "$")


def _last(name: str | None) -> str | None:
    return None if name is None else _name(name)
