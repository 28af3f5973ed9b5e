"""A double of Jenkins' job API on a real socket, as a recorded Jenkins answered it.

It keeps jobs and views as XML by full name. What it answers is held to ``recorded.json`` by
``test_double.py``.
"""

from __future__ import annotations

import base64
import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.etree import ElementTree as ET

USER, TOKEN = "robot", "11f00dfeedfacecafe"
CLASSES = {
    "com.cloudbees.hudson.plugins.folder.Folder": "com.cloudbees.hudson.plugins.folder.Folder",
    "flow-definition": "org.jenkinsci.plugins.workflow.job.WorkflowJob",
}


@dataclass
class Jenkins:
    """What the double holds, how it behaves, and what it was asked."""

    url: str = ""
    jobs: dict[str, str] = field(default_factory=dict)
    views: dict[str, str] = field(default_factory=dict)
    crumb: str | None = None
    forbidden: tuple[str, ...] = ()
    """Paths that the user may not post to."""

    broken: str | None = None
    """A path that answers 500."""

    is_jenkins: bool = True
    """Whether answers carry the header by which a Jenkins is known."""

    requests: list[tuple[str, str]] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        return {"JENKINS_URL": self.url, "JENKINS_USER": USER, "JENKINS_TOKEN": TOKEN}

    @property
    def posts(self) -> list[str]:
        return [path for method, path in self.requests if method == "POST"]


def name_of(path: str) -> str:
    """Return the full name in a path of ``/job/A/job/B`` or ``/view/V``."""
    return "/".join(unquote(part) for part in path.split("/")[2::2])


def handler(jenkins: Jenkins) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

        def answer(self, status: int, body: str = "", kind: str = "", **headers: str) -> None:
            self.send_response(status)
            if jenkins.is_jenkins:
                self.send_header("X-Jenkins", "2.568.2")
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            if kind:
                self.send_header("Content-Type", f"{kind};charset=utf-8")
            content = body.encode()
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def page(self, status: int = 404, **headers: str) -> None:
            self.answer(status, "<html>a page</html>", "text/html", **headers)

        def is_welcome(self) -> bool:
            jenkins.requests.append((self.command, self.path))
            login = base64.b64encode(f"{USER}:{TOKEN}".encode()).decode()
            if self.headers.get("Authorization") != f"Basic {login}":
                self.page(401)
            elif jenkins.broken and self.path.startswith(jenkins.broken):
                self.page(500)
            elif self.command == "POST" and self.path in jenkins.forbidden:
                self.page(403)
            elif self.command == "POST" and self.headers.get("Jenkins-Crumb") != jenkins.crumb:
                self.answer(403, "No valid crumb was included in the request", "text/html")
            else:
                return True
            return False

        def do_GET(self) -> None:
            if self.is_welcome():
                self.read(urlsplit(self.path).path)

        def read(self, path: str) -> None:
            if path == "/crumbIssuer/api/json":
                crumb = {"crumb": jenkins.crumb, "crumbRequestField": "Jenkins-Crumb"}
                return self.json(crumb) if jenkins.crumb else self.page()
            if path == "/api/json":
                return self.json({"_class": "hudson.model.Hudson", "jobs": self.below("")})
            held = jenkins.views if path.startswith("/view/") else jenkins.jobs
            for end in ("/api/json", "/config.xml", "/"):
                name = name_of(path.removesuffix(end))
                if path.endswith(end) and name in held:
                    if end == "/config.xml":
                        return self.answer(200, held[name], "application/xml")
                    return self.page(200) if end == "/" else self.json(self.about(name))
            return self.page()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            if not self.is_welcome():
                return
            parts = urlsplit(self.path)
            path, _, act = parts.path.rpartition("/")
            held = jenkins.views if "/view/" in parts.path or act == "createView" else jenkins.jobs
            name = name_of(path)
            if act in ("createItem", "createView"):
                own = parse_qs(parts.query)["name"][0]
                full = f"{name}/{own}" if name else own
                if name and name not in jenkins.jobs:
                    self.page()
                elif full in held:
                    self.page(400, X_Error=f"A job already exists with the name '{own}'")
                else:
                    held[full] = body
                    self.answer(200)
            elif name not in held:
                self.page()
            elif act == "config.xml":
                held[name] = body
                self.answer(200)
            elif act == "doDelete":
                for gone in [job for job in held if job == name or job.startswith(f"{name}/")]:
                    del held[gone]
                self.answer(302, Location=f"{path.rpartition('/job/')[0]}/")
            else:
                self.page()

        def json(self, content: dict[str, object]) -> None:
            self.answer(200, json.dumps(content), "application/json")

        def about(self, name: str) -> dict[str, object]:
            tag = ET.fromstring(jenkins.jobs[name].partition("?>")[2]).tag
            own = name.rpartition("/")[2]
            return {"_class": CLASSES.get(tag, tag), "name": own, "jobs": self.below(f"{name}/")}

        def below(self, prefix: str) -> list[dict[str, str]]:
            names = [job.removeprefix(prefix) for job in jenkins.jobs if job.startswith(prefix)]
            return [{"name": name} for name in names if "/" not in name]

    return Handler


@contextlib.contextmanager
def running() -> Iterator[Jenkins]:
    """Serve a double on a free port of the loopback until the block ends."""
    jenkins = Jenkins()
    with ThreadingHTTPServer(("127.0.0.1", 0), handler(jenkins)) as server:
        jenkins.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield jenkins
        finally:
            server.shutdown()
            thread.join()
