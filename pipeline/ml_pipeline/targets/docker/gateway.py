"""The gateway of the docker target: nginx with the published port, in front of the servers.

The two servers, blue and green, have fixed addresses on a private network that only the gateway
and, temporarily, the reader of a live shadow join. A request with the trial key reaches the server
that it names, so a new server is verified over the same path that clients use before the switch.

Two files in the configuration's folder, named by colour, select the server for requests: the
executable one. nginx checks them with each request, so a switch writes two files by one call of the
engine, the new server's first: no worker starts, and connections stay open. If both are executable,
as for a moment during each switch, green is selected.

Only other limits need a reload: nginx starts workers with the new configuration and lets the old
ones finish. A reload closes the idle connections of the old workers at any time, even if a request
is on its way. So for a second before it, each response closes its connection.
"""

from __future__ import annotations

import io
import re
import secrets
import tarfile
import time
from collections.abc import Mapping
from ipaddress import ip_network
from typing import TYPE_CHECKING, Any

from ml_pipeline.core.errors import EnvironmentFault
from ml_pipeline.core.tar_archive import add_bytes
from ml_pipeline.targets.docker.container import (
    COLOURS,
    HARDENING,
    LABEL,
    PORT,
    USER,
    Container,
    ContainerSpec,
    Readiness,
    ServerContainer,
    labels,
)

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.networks import Network

GATEWAY_ROLE, OLD_GATEWAY_ROLE, TRIAL_ROLE = ".gateway", ".gateway.old", ".gateway.trial"

FOLDER = "/etc/ml-pipeline"
"""Folder in docker/gateway.Dockerfile."""
CURRENT, NEXT, DRAINING = "nginx.conf", "next.conf", "draining"
RELOADING = "reloading"
"""Exists while nginx may not have loaded the current configuration yet."""
NGINX = ("/usr/sbin/nginx", "-e", "stderr")
MEMORY = "128m"
PROCESSES = 64
LINGER_SECONDS = 1.0
"""Time in which open connections may send a last request before the reload."""
RELOAD_SECONDS = 20.0
UP_SECONDS = 5.0
IN_MEMORY = 1 << 20
"""Largest body that is buffered in memory; larger ones go to the temporary folder, a tmpfs."""
WORKER = re.compile(rb"^/proc/(\d+)/cmdline:nginx: worker process(.*)$", re.MULTILINE)

CONFIGURATION = """\
worker_processes 1;
pid /tmp/nginx.pid;
error_log stderr error;
worker_shutdown_timeout 35s;
events { worker_connections 4096; }
http {
  access_log off;
  server_tokens off;
  default_type application/json;
  client_body_temp_path /tmp/body;
  proxy_temp_path /tmp/proxy;
  fastcgi_temp_path /tmp/fastcgi;
  uwsgi_temp_path /tmp/uwsgi;
  scgi_temp_path /tmp/scgi;
  client_max_body_size @max_body@;
  client_body_buffer_size @buffer@;
  client_header_timeout 10s;
  client_body_timeout 10s;
  keepalive_timeout 75s;
@upstreams@
  map $http_x_ml_pipeline_trial $trial {
    default "";
@trials@
  }
  map $http_x_request_id $number {
    default $request_id;
    "~^[A-Za-z0-9._-]+$" $http_x_request_id;
  }
  server {
    listen 8000 backlog=2048;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Request-Id $number;
    proxy_set_header X-Ml-Pipeline-Trial "";
    proxy_hide_header X-Request-Id;
    add_header X-Request-Id $number always;
    add_header X-Served-By $colour always;
    # a prediction changes nothing, so one whose connection broke may be asked again
    proxy_next_upstream error non_idempotent;
    proxy_connect_timeout 1s;
    proxy_read_timeout 60s;
    proxy_max_temp_file_size 0;
    error_page 400 494 =400 @bad;
    error_page 404 @unknown;
    error_page 405 @method;
    error_page 413 @large;
    error_page 502 503 504 =503 @none;
    set $colour "";
@colours@
    if ($trial) { set $colour $trial; }
    if ($colour = "") { return 503; }
    if (-f @folder@/draining) { rewrite ^ /.draining last; }
    location / { proxy_pass http://$colour$request_uri; }
    location = /.draining { internal; keepalive_timeout 0; proxy_pass http://$colour$request_uri; }
    location @bad { return 400 '{"error": "the request is no HTTP, or its head is too long"}'; }
    location @unknown { return 404 '{"error": "no such path"}'; }
    location @method { return 405 '{"error": "no such method"}'; }
    location @large {
      return 413 '{"error": "the body is too large; at most @max_body@ bytes"}';
    }
    location @none { return 503 '{"error": "no server answers behind the gateway"}'; }
  }
}
"""
UPSTREAM = """\
  upstream @colour@ {
    server @address@:8000 max_fails=0;
    keepalive 128;
    keepalive_timeout 3s;
    keepalive_requests 1000000;
  }"""
"""Idle connections are closed before the server closes them, after 5 s."""


def configuration(server: ServerContainer | None, addresses: Mapping[str, str], key: str) -> str:
    """Return nginx's configuration.

    Args:
        server: The server whose limits apply; None without one.
        addresses: Addresses on the private network, by colour.
        key: The trial key; a request with ``KEY.COLOUR`` reaches the server of this colour.
    """
    max_body = IN_MEMORY if server is None else server.max_body
    upstreams = [
        UPSTREAM.replace("@colour@", colour).replace("@address@", own)
        for colour, own in addresses.items()
    ]
    values = {
        "max_body": str(max_body),
        "buffer": str(max(1024, min(max_body, IN_MEMORY))),
        "upstreams": "\n".join(upstreams),
        "colours": "\n".join(
            f"    if (-x {FOLDER}/{colour}) {{ set $colour {colour}; }}" for colour in COLOURS
        ),
        "trials": "\n".join(f'    "{key}.{colour}" {colour};' for colour in addresses),
        "folder": FOLDER,
    }
    return re.sub("@([a-z_]+)@", lambda found: values[found[1]], CONFIGURATION)


class Gateway(Container):
    """The container of the gateway."""

    kind = "gateway"

    switched = False
    """Whether ``switch`` was called on this object."""

    def trial(self, server: ServerContainer) -> dict[str, str]:
        """Return the header that sends a request to this server, whichever is selected."""
        return {"x-ml-pipeline-trial": f"{self.label('trial')}.{server.colour}"}

    def wait_for_readiness(self) -> Readiness | None:
        """Return its readiness; wait a moment if it has just started."""
        deadline = time.monotonic() + UP_SECONDS
        while (
            (readiness := self.check_ready()) is None
            and self.running
            and time.monotonic() < deadline
        ):
            time.sleep(0.05)
            self.reload()
        return readiness

    def write_initial_configuration(
        self, server: ServerContainer | None, addresses: Mapping[str, str]
    ) -> None:
        """Write the configuration that it starts with."""
        self._write(CURRENT, configuration(server, addresses, self.label("trial")))
        self._select_server(server)

    def switch(self, server: ServerContainer | None, addresses: Mapping[str, str]) -> None:
        """Forward all requests to the server from now on; no request is refused or aborted.

        Raises:
            EnvironmentFault: nginx refuses the configuration, or does not load it in time.
        """
        text = configuration(server, addresses, self.label("trial"))
        changes = self._read() != text
        if changes:
            self._write(NEXT, text)
            self._run(*NGINX, "-t", "-c", f"{FOLDER}/{NEXT}")
        self.switched = True
        readiness = self.check_ready()
        leads = "" if readiness is None else readiness.colour
        if changes or server is None or leads != server.colour:
            self._select_server(server)
        if changes:
            self._reload(lingers=leads != "")

    def _reload(self, *, lingers: bool) -> None:
        if lingers:
            self._write(DRAINING, "")
            time.sleep(LINGER_SECONDS)
        before = self._workers()
        self._run("sh", "-c", f"cd {FOLDER} && :> {RELOADING} && mv {NEXT} {CURRENT}", user="0")
        self._run(*NGINX, "-s", "reload", "-c", f"{FOLDER}/{CURRENT}")
        self._await_workers(before)
        self._run("rm", "-f", f"{FOLDER}/{DRAINING}", f"{FOLDER}/{RELOADING}", user="0")

    def _await_workers(self, before: set[bytes]) -> None:
        """Wait until none of the workers ``before`` accepts connections, and another one does."""
        deadline = time.monotonic() + RELOAD_SECONDS
        while not (now := self._workers()) or now & before:
            if time.monotonic() > deadline:
                raise EnvironmentFault(
                    f"the gateway did not load its configuration within {RELOAD_SECONDS:g} s"
                )
            time.sleep(0.05)

    def _workers(self) -> set[bytes]:
        """Return the pids of the workers that accept connections."""
        output = self._run("sh", "-c", 'grep -sa "" /proc/[0-9]*/cmdline || true')
        return {pid for pid, title in WORKER.findall(output) if b"shutting down" not in title}

    def _run(self, *command: str, user: str = "") -> bytes:
        code, output = self._container.exec_run(list(command), user=user)
        output = bytes(output) if isinstance(output, bytes) else b""
        if code != 0:
            lines = output.decode(errors="replace").strip().splitlines()
            last = lines[-1] if lines else f"exit code {code}"
            raise EnvironmentFault(f"the gateway: {command[0].rpartition('/')[2]}: {last}")
        return output

    def _read(self) -> str:
        """Return nginx's configuration; empty if a reload was started but not finished."""
        chunks, _ = self._container.get_archive(FOLDER)
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            files = {name.rpartition("/")[2]: name for name in archive.getnames()}
            if RELOADING in files or DRAINING in files or CURRENT not in files:
                return ""
            found = archive.extractfile(files[CURRENT])
            return "" if found is None else found.read().decode()

    def _select_server(self, server: ServerContainer | None) -> None:
        """Select the server by the modes of the files.

        A file is missing for a moment while it is replaced, so the caller avoids needless writes.
        """
        own = "" if server is None else server.colour
        files = [(colour, "", 0o555 if colour == own else 0o444) for colour in COLOURS]
        self._put(*sorted(files, key=lambda file: -file[2]))

    def _write(self, name: str, text: str) -> None:
        self._put((name, text, 0o444))

    def _put(self, *files: tuple[str, str, int]) -> None:
        """Write files (name, text, mode) into the folder, in this order."""
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            for name, text, mode in files:
                add_bytes(archive, name, text.encode(), mode)
        self._container.put_archive(FOLDER, stream.getvalue())


def create(
    client: DockerClient, spec: ContainerSpec, role: str, port: int, network: Network
) -> Gateway:
    """Create a gateway that publishes ``port`` (0 is any) and joins the servers' ``network``.

    Non-root without capabilities, on a read-only root. Its configuration is in a volume, since
    the engine cannot write files to a read-only root; nginx cannot write it.
    """
    from docker.types import Mount

    section = spec.placement.section
    host = "127.0.0.1" if section.host == "localhost" else section.host
    common = labels(spec.scope, spec.placement.name)
    volume = f"{spec.name}-gateway-{secrets.token_hex(4)}"
    client.volumes.create(volume, labels=common)
    own = {f"{LABEL}trial": secrets.token_hex(16)}
    own |= {f"{LABEL}url": ""} if role == TRIAL_ROLE else {}
    published: dict[str, Any] = {PORT: (host, port or None)}
    container = client.containers.create(
        spec.gateway,
        name=spec.name + role,
        labels=spec.gateway_labels | own,
        user=f"{USER}:{USER}",
        mem_limit=MEMORY,
        memswap_limit=MEMORY,
        pids_limit=PROCESSES,
        mounts=[Mount(FOLDER, volume, type="volume")],
        tmpfs={"/tmp": "mode=1777"},  # noqa: S108  a folder of the container
        ports=published,
        network=section.network or "bridge",
        **HARDENING,
    )
    network.connect(container)
    container.reload()
    return Gateway(client, container)


# --- the network of gateway and servers -----------------------------------------------------------


def make_network(client: DockerClient, spec: ContainerSpec) -> Network:
    """Return the environment's private network; create it if it does not exist.

    The engine assigns fixed addresses only on networks with an explicit range, and knows which
    range is free. So the network is created once without a range, and again with the range that the
    engine chose. Dynamic addresses come from its upper half.
    """
    from docker.types import IPAMConfig, IPAMPool

    common = labels(spec.scope, spec.placement.name)
    found = find_network(client, common)
    if found is not None and _pool(found).get("IPRange"):
        return found
    if found is None:
        found = client.networks.create(spec.name, labels=common, internal=True)
        found.reload()
    subnet = ip_network(_pool(found)["Subnet"])
    found.remove()
    pool = IPAMPool(
        subnet=str(subnet),
        gateway=str(subnet[1]),
        iprange=str(list(subnet.subnets())[1]),
    )
    ipam = IPAMConfig(pool_configs=[pool])
    made = client.networks.create(spec.name, labels=common, internal=True, ipam=ipam)
    made.reload()
    return made


def find_network(client: DockerClient, common: Mapping[str, str]) -> Network | None:
    filters: dict[str, Any] = {"label": [f"{key}={text}" for key, text in common.items()]}
    return next(iter(client.networks.list(filters=filters)), None)


def addresses(network: Network) -> dict[str, str]:
    """Return the address of the server of each colour."""
    subnet = ip_network(_pool(network)["Subnet"])
    return {colour: str(subnet[2 + index]) for index, colour in enumerate(COLOURS)}


def _pool(network: Network) -> dict[str, str]:
    pools: list[dict[str, str]] = network.attrs["IPAM"]["Config"]
    return pools[0]
