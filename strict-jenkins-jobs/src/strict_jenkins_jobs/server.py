"""A Jenkins through its HTTP API: configurations of jobs and views, and what lies in a folder.

Address and credentials are read from environment variables only, since every process of the machine
can read a command line. They are never part of a message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx

from strict_jenkins_jobs.errors import JobsError, ServerError, UsageError

URL, USER, TOKEN = "JENKINS_URL", "JENKINS_USER", "JENKINS_TOKEN"
XML = {"Content-Type": "text/xml; charset=utf-8"}
TIMEOUT = 30.0


@dataclass(frozen=True)
class Access:
    """Address and credentials of the server."""

    url: str
    user: str
    token: str

    def __repr__(self) -> str:
        return f"Access(url={self.url!r}, user={self.user!r}, token='****')"


def access(environment: Mapping[str, str]) -> Access:
    """Return the server's address and credentials from the environment.

    Raises:
        UsageError: a variable is missing, or the address is invalid or has credentials.
    """
    missing = [name for name in (URL, USER, TOKEN) if not environment.get(name)]
    if missing:
        raise UsageError(
            f"{', '.join(missing)} not set",
            expected=f"the server in {URL}, its user in {USER} and an API token in {TOKEN}",
        )
    url = environment[URL].rstrip("/")
    parts = urlsplit(url)
    if parts.username or parts.password:
        raise UsageError(f"{URL} has credentials", hint=f"put them into {USER} and {TOKEN}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"{URL} is not an address", expected="http:// or https:// and a host")
    return Access(url, environment[USER], environment[TOKEN])


class Server:
    """A Jenkins server. Every method raises ServerError if it does not answer."""

    def __init__(self, access: Access) -> None:
        self._url = access.url
        self._client = httpx.Client(auth=(access.user, access.token), timeout=TIMEOUT)
        self._crumb: dict[str, str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._client.close()

    def check_access(self) -> None:
        """Check that a Jenkins answers at the address and accepts the user.

        Raises:
            UsageError: something else answers, or the credentials are wrong. Without this check
                a wrong address would look like a Jenkins without jobs.
        """
        answer = self._get("/api/json?tree=mode", "the server")
        if answer.status_code != httpx.codes.OK or "X-Jenkins" not in answer.headers:
            raise UsageError(f"no Jenkins answers at {self._url}", hint=f"see {URL}")

    def job(self, name: str) -> str | None:
        """Return a job's configuration, or None where there is no such job."""
        return self._configuration(f"{job_path(name)}/config.xml", f"job '{name}'")

    def view(self, name: str) -> str | None:
        """Return a view's configuration, or None where there is no such view."""
        return self._configuration(f"{view_path(name)}/config.xml", f"view '{name}'")

    def content(self, folder: str) -> list[str]:
        """Return the full names of what lies directly in a folder."""
        answer = self._get(f"{job_path(folder)}/api/json?tree=jobs[name]", f"folder '{folder}'")
        if answer.status_code == httpx.codes.NOT_FOUND:
            return []
        self._expect(answer, f"read folder '{folder}'")
        try:
            jobs = answer.json()["jobs"]
            return sorted(f"{folder}/{job['name']}" for job in jobs)
        except (ValueError, KeyError, TypeError):
            raise ServerError(f"Jenkins did not list folder '{folder}'") from None

    def create_job(self, name: str, xml: str) -> None:
        parent, _, own = name.rpartition("/")
        path = f"{job_path(parent)}/createItem?name={quote(own, safe='')}"
        self._post(path, f"create job '{name}'", xml)

    def change_job(self, name: str, xml: str) -> None:
        self._post(f"{job_path(name)}/config.xml", f"change job '{name}'", xml)

    def delete_job(self, name: str) -> None:
        self._post(f"{job_path(name)}/doDelete", f"delete job '{name}'")

    def create_view(self, name: str, xml: str) -> None:
        parent, _, own = name.rpartition("/")
        path = f"{job_path(parent)}/createView?name={quote(own, safe='')}"
        self._post(path, f"create view '{name}'", xml)

    def change_view(self, name: str, xml: str) -> None:
        self._post(f"{view_path(name)}/config.xml", f"change view '{name}'", xml)

    # --- requests -------------------------------------------------------------------------------

    def _configuration(self, path: str, what: str) -> str | None:
        answer = self._get(path, what)
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        self._expect(answer, f"read {what}")
        # always UTF-8, whatever the header says
        return answer.content.decode("utf-8", errors="replace")

    def _get(self, path: str, what: str) -> httpx.Response:
        answer = self._send("GET", path)
        if answer.status_code in (httpx.codes.OK, httpx.codes.NOT_FOUND):
            return answer
        self._expect(answer, f"read {what}")
        return answer

    def _post(self, path: str, act: str, xml: str | None = None) -> None:
        answer = self._send("POST", path, xml, self._crumb_header())
        if answer.status_code == httpx.codes.FORBIDDEN and "crumb" in answer.text.lower():
            # the crumb is valid for a session, which may have ended
            self._crumb = None
            answer = self._send("POST", path, xml, self._crumb_header())
        self._expect(answer, act, redirect=True)

    def _send(
        self, method: str, path: str, xml: str | None = None, headers: Mapping[str, str] = {}
    ) -> httpx.Response:
        content = None if xml is None else xml.encode()
        sent = dict(headers) if xml is None else {**XML, **headers}
        try:
            return self._client.request(method, f"{self._url}{path}", content=content, headers=sent)
        except httpx.TimeoutException:
            raise ServerError(
                f"Jenkins at {self._url} did not answer within {TIMEOUT:.0f} s"
            ) from None
        except httpx.TransportError as error:
            raise ServerError(
                f"Jenkins at {self._url} cannot be reached: {error}", hint=f"see {URL}"
            ) from None

    def _crumb_header(self) -> dict[str, str]:
        """Return the header against request forgery; a Jenkins without it answers 404."""
        if self._crumb is None:
            answer = self._get("/crumbIssuer/api/json", "the crumb")
            self._crumb = {}
            if answer.status_code == httpx.codes.OK:
                try:
                    given: Any = answer.json()
                    self._crumb = {str(given["crumbRequestField"]): str(given["crumb"])}
                except (ValueError, KeyError, TypeError):
                    raise ServerError("Jenkins did not give a crumb") from None
        return self._crumb

    def _expect(self, answer: httpx.Response, act: str, *, redirect: bool = False) -> None:
        status = answer.status_code
        if answer.is_success or (redirect and answer.is_redirect):
            return
        raise _refusal(status, answer.headers.get("X-Error", ""), act, self._url)


def _refusal(status: int, said: str, act: str, url: str) -> JobsError:
    if status == httpx.codes.UNAUTHORIZED:
        return UsageError(
            f"Jenkins at {url} does not accept the credentials (401)",
            hint=f"{TOKEN} has to be a valid API token of {USER}",
        )
    if status == httpx.codes.FORBIDDEN:
        return UsageError(
            f"{USER} may not {act} (403)",
            hint="needed are Overall/Read, Job/Read, ExtendedRead, Create and Configure, to delete "
            "Job/Delete, for views View/Read, Create and Configure",
        )
    if 300 <= status < 400:
        return UsageError(f"{url} leads elsewhere ({status})", hint=f"put that address into {URL}")
    detail = f": {said[:200]}" if said else ""
    if status >= 500:
        return ServerError(f"Jenkins could not {act} ({status}){detail}")
    return UsageError(f"Jenkins refused to {act} ({status}){detail}")


def job_path(name: str) -> str:
    """Return the path of a job by its full name: ``a/b`` is ``/job/a/job/b``."""
    return "".join(f"/job/{quote(part, safe='')}" for part in name.split("/") if part)


def view_path(name: str) -> str:
    """Return the path of a view by its name, after the folder that it lies in."""
    parent, _, own = name.rpartition("/")
    return f"{job_path(parent)}/view/{quote(own, safe='')}"
