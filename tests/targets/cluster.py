"""A double of kubectl with a cluster behind it, for the commands that the kubernetes target uses.

It keeps objects as an API server does: what is applied must fit the published schema, a selector
never changes, a JSON patch is all or nothing. A Deployment is one process of docker/serve.py that
counts for all of its replicas; a Service is reached at its port on loopback. What a real cluster
does beyond that is not in it.
"""

import contextlib
import copy
import json
import socket
import socketserver
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection

import kubernetes_validate

from tests.servers import TOKEN

SCHEMAS = "1.34"
REGISTRY = "registry.test/team/small"
KINDS = {
    "deployment": "Deployment",
    "horizontalpodautoscaler": "HorizontalPodAutoscaler",
    "ingress": "Ingress",
    "networkpolicy": "NetworkPolicy",
    "pod": "Pod",
    "poddisruptionbudget": "PodDisruptionBudget",
    "service": "Service",
    "serviceaccount": "ServiceAccount",
}
PROGRAM = """#!{python} -IS
import json, os, signal, socket, sys
with socket.socket(socket.AF_UNIX) as cluster:
    cluster.connect({path!r})
    given = sys.stdin.read() if "-" in sys.argv else ""
    cluster.sendall(json.dumps([sys.argv[1:], given]).encode() + b"\\n")
    answer = json.loads(cluster.makefile().readline())
sys.stderr.write(answer["stderr"])
sys.stdout.buffer.write(answer["stdout"].encode("latin-1"))
sys.stdout.flush()
if "port-forward" in sys.argv and not answer["code"]:
    signal.pause()
sys.exit(answer["code"])
"""


class Refusal(Exception):
    """An error of kubectl, printed on stderr."""


class Pod:
    """A server of a Deployment; it may fail to start, as a container does."""

    def __init__(self, cluster, template):
        self.template = template
        self.waiting = None
        self.port = None
        self.process = None
        self._was_ready = False
        container = template["spec"]["containers"][0]
        bundle = cluster.image(container["image"])
        reference = container["env"][0]["valueFrom"]["secretKeyRef"]
        if bundle is None:
            self.waiting = {"reason": "ImagePullBackOff", "message": container["image"]}
        elif (reference["name"], reference["key"]) not in cluster.secrets:
            message = f'secret "{reference["name"]}" not found'
            self.waiting = {"reason": "CreateContainerConfigError", "message": message}
        else:
            token = cluster.secrets[reference["name"], reference["key"]]
            self._start(cluster, container, bundle, token)

    def _start(self, cluster, container, bundle, token):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self.port = taken.getsockname()[1]
        place = cluster.root / f"pod-{self.port}"
        place.mkdir()
        (place / "bundle").symlink_to(bundle)
        self.log = place / "log"
        stdin = {container["env"][0]["name"]: token}
        arguments = container["args"]
        for mount in container["volumeMounts"]:
            folder = place / mount["name"]
            folder.mkdir()
            arguments = [each.replace(mount["mountPath"], str(folder)) for each in arguments]
        self.process = cluster.process_group.start(place, self.port, arguments, stdin, self.log)

    @property
    def ready(self):
        if self.failed:
            return False
        self._was_ready = self._was_ready or self._answers()
        return self._was_ready

    def _answers(self):
        connection = HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    @property
    def failed(self):
        return self.process is None or self.process.poll() is not None

    def end(self):
        if self.process is not None:
            self.process.end()

    def seen(self, labels):
        status = {"name": "server", "ready": self.ready, "state": {"running": {}}}
        if self.process is None:
            status["state"] = {"waiting": self.waiting}
        elif (code := self.process.poll()) is not None:
            said = self.log.read_text()
            status["state"] = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
            status["lastState"] = {"terminated": {"exitCode": code, "message": said}}
        return {
            "kind": "Pod",
            "metadata": {"labels": labels, "name": f"pod-{self.port}"},
            "status": {"containerStatuses": [status]},
        }


class Cluster:
    """Objects of one namespace, their server processes, and the recorded calls."""

    def __init__(self, root, bundles, process_group, namespace="ml"):
        self.root = root
        self.process_group = process_group
        self.namespace = namespace
        self.contexts = {"test"}
        self.secrets = {(f"small{end}-token", "token"): TOKEN for end in ("", "-staging", "-other")}
        self.calls = []
        self.objects = {}
        self.before = lambda words: None
        self._bundles = bundles
        self._pods = {}
        self._service_ports = {}
        self._lock = threading.RLock()
        path = str(root / "api.sock")
        cluster = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self):
                words, stdin = json.loads(self.rfile.readline())
                self.wfile.write(json.dumps(cluster.answer(words, stdin)).encode() + b"\n")

        self._server = socketserver.ThreadingUnixStreamServer(path, Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.bin = root / "bin"
        self.bin.mkdir()
        program = self.bin / "kubectl"
        program.write_text(PROGRAM.format(python=sys.executable, path=path))
        program.chmod(0o755)

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        for pods in self._pods.values():
            for pod in pods:
                pod.end()
        for service_port in self._service_ports.values():
            service_port.close()

    def names(self, kind):
        return sorted(name for other, name in self.objects if other == kind)

    def image(self, name):
        """Return the bundle in an image: every released bundle counts as pushed."""
        repository, _, tag = name.rpartition(":")
        found = [path for root in self._bundles for path in root.glob(f"released/{tag}*")]
        return found[0] if repository == REGISTRY and found else None

    # --- kubectl ------------------------------------------------------------------------------

    def answer(self, words, stdin):
        try:
            options, words = self._options(words)
            self.calls.append(words)
            self.before(words)
            self._check_namespace(options)
            command = getattr(self, words[0].replace("-", "_"))
            return {"stdout": command(words[1:], options, stdin), "stderr": "", "code": 0}
        except Refusal as refusal:
            return {"stdout": "", "stderr": f"{refusal}\n", "code": 1}

    def _check_namespace(self, options):
        context, namespace = options.get("--context", "test"), options["--namespace"]
        if context not in self.contexts:
            raise Refusal(f'error: context "{context}" does not exist')
        if namespace != self.namespace:
            raise Refusal(f'Error from server (NotFound): namespaces "{namespace}" not found')

    def _options(self, words):
        """Split words and options as kubectl does; refuse unknown options."""
        switches = {"--ignore-not-found", "--server-side", "--force-conflicts", "--wait=false"}
        valued = {
            *("--namespace", "--context", "--output", "--selector", "--field-manager"),
            *("--filename", "--timeout", "--type", "--patch", "--address", "--container"),
        }
        options, plain, rest = {}, [], iter(words)
        for word in rest:
            if word in switches:
                options[word] = True
            elif word in valued:
                options[word] = next(rest)
            elif word == "--":
                return options, [*plain, *rest]
            elif word.startswith("-"):
                raise Refusal(f"error: unknown flag: {word}")
            else:
                plain.append(word)
        return options, plain

    def get(self, words, options, stdin):
        assert options["--output"] == "json"
        if "/" in words[0]:
            keys = [(KINDS[kind], name) for kind, name in (word.split("/") for word in words)]
            items = [self.objects[key] for key in keys if key in self.objects]
            return json.dumps({"kind": "List", "items": items})
        kind = KINDS[words[0]]
        with self._lock:
            if len(words) == 2:
                found = self.objects.get((kind, words[1]))
                return "" if found is None else json.dumps(self._with_status(found))
            if kind == "Pod":
                items = [pod for name in self._pods for pod in self._pods_of(name)]
            else:
                items = [
                    self._with_status(one)
                    for (other, _), one in self.objects.items()
                    if other == kind
                ]
        items = [one for one in items if matches(one, options["--selector"])]
        return json.dumps({"kind": "List", "items": items})

    def apply(self, words, options, stdin):
        assert options["--server-side"]
        assert options["--filename"] == "-"
        items = json.loads(stdin)["items"]
        for one in items:
            kubernetes_validate.validate(one, SCHEMAS, strict=True)
            assert one["metadata"]["namespace"] == self.namespace
            self._keeps_selector(one)
        with self._lock:
            for one in items:
                self.objects[one["kind"], one["metadata"]["name"]] = copy.deepcopy(one)
                self._act(one["kind"], one["metadata"]["name"])
        return "".join(f"{one['kind']} serverside-applied\n" for one in items)

    def rollout(self, words, options, stdin):
        assert words[0] == "status"
        name = words[1].removeprefix("deployment/")
        deadline = time.monotonic() + int(options["--timeout"].removesuffix("s"))
        while time.monotonic() < deadline:
            with self._lock:
                if ("Deployment", name) not in self.objects:
                    raise Refusal(f'Error from server (NotFound): deployments "{name}" not found')
                pods = self._scheduled_pods(name)
                if len(pods) == 1 and pods[0].ready:
                    return "successfully rolled out\n"
                if pods[-1].failed:
                    break
            time.sleep(0.05)
        raise Refusal("error: timed out waiting for the condition")

    def patch(self, words, options, stdin):
        kind, name = KINDS[words[0]], words[1]
        assert options["--type"] == "json"
        with self._lock:
            if (kind, name) not in self.objects:
                raise Refusal(f'Error from server (NotFound): {words[0]}s "{name}" not found')
            made = copy.deepcopy(self.objects[kind, name])
            for step in json.loads(options["--patch"]):
                *parents, last = step["path"].strip("/").split("/")
                node = made
                for key in parents:
                    node = node[key]
                if step["op"] == "test" and node.get(last) != step["value"]:
                    raise Refusal("The request is invalid: the server rejected our request")
                if step["op"] == "replace":
                    node[last] = step["value"]
            self.objects[kind, name] = made
            self._act(kind, name)
        return f"{words[0]}/{name} patched\n"

    def delete(self, words, options, stdin):
        kinds = [KINDS[word] for word in words[0].split(",")]
        with self._lock:
            for kind, name in list(self.objects):
                if kind in kinds and matches(self.objects[kind, name], options["--selector"]):
                    del self.objects[kind, name]
                    self._act(kind, name)
        return ""

    def port_forward(self, words, options, stdin):
        kind, _, name = words[0].partition("/")
        with self._lock:
            if kind == "service":
                service = self.objects["Service", name]
                assert words[1] == f":{service['spec']['ports'][0]['port']}"
                name = self._chosen(service)
            pods = [pod for pod in self._scheduled_pods(name) if pod.ready] if name else []
        if not pods:
            raise Refusal("error: unable to forward port because pod is not running")
        return f"Forwarding from 127.0.0.1:{pods[-1].port} -> 8000\n"

    def exec(self, words, options, stdin):
        """Run a program of the image in the pod, whose folders are the double's."""
        name, python, *arguments = words
        assert options["--container"] == "server"
        assert python == "/opt/ml-pipeline/bin/python"
        folder = self.root / name
        with self._lock:
            if not any(f"pod-{pod.port}" == name for pods in self._pods.values() for pod in pods):
                raise Refusal(f'Error from server (NotFound): pods "{name}" not found')
        arguments = [
            each.replace("/var/lib/ml-pipeline", str(folder / "predictions")) for each in arguments
        ]
        ran = subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
        if ran.returncode:
            raise Refusal(ran.stderr.decode().splitlines()[-1])
        return ran.stdout.decode("latin-1")

    # --- what a cluster does by itself --------------------------------------------------------

    def _act(self, kind, name):
        made = self.objects.get((kind, name))
        if kind == "Deployment":
            pods = self._pods.setdefault(name, [])
            wanted = None if made is None else made["spec"]["template"]
            for pod in [pod for pod in pods[1:] if pod.template != wanted] if wanted else pods[:]:
                pod.end()
                pods.remove(pod)
            if wanted is None:
                del self._pods[name]
            elif not pods or pods[-1].template != wanted:
                pods.append(Pod(self, wanted))
        if kind == "Service":
            service_port = self._service_ports.pop(name, None)
            port = None if made is None else made["spec"]["ports"][0]["port"]
            if service_port is not None and service_port.port != port:
                service_port.close()
                service_port = None
            if port is not None:
                self._service_ports[name] = service_port or ServicePort(
                    port, lambda: self._backend(name)
                )

    def _scheduled_pods(self, name):
        """Return the pods, without the old one once the new one is ready."""
        pods = self._pods.get(name, [])
        if len(pods) == 2 and pods[1].ready:
            pods.pop(0).end()
        return pods

    def _chosen(self, service):
        selector = service["spec"]["selector"]
        for (kind, name), one in self.objects.items():
            if kind == "Deployment":
                labels = one["spec"]["template"]["metadata"]["labels"]
                if selector.items() <= labels.items():
                    return name
        return None

    def _backend(self, service):
        with self._lock:
            made = self.objects.get(("Service", service))
            name = None if made is None else self._chosen(made)
            ready = [pod.port for pod in self._scheduled_pods(name) if pod.ready] if name else []
        return ready[0] if ready else None

    def _with_status(self, made):
        if made["kind"] != "Deployment":
            return made
        pods = self._scheduled_pods(made["metadata"]["name"])
        ready = any(pod.ready for pod in pods)
        return made | {"status": {"availableReplicas": made["spec"]["replicas"]} if ready else {}}

    def _pods_of(self, name):
        labels = self.objects["Deployment", name]["spec"]["template"]["metadata"]["labels"]
        return [pod.seen(labels) for pod in self._scheduled_pods(name)]

    def _keeps_selector(self, made):
        old = self.objects.get((made["kind"], made["metadata"]["name"]))
        if made["kind"] == "Deployment" and old is not None:
            assert old["spec"]["selector"] == made["spec"]["selector"], "field is immutable"


class ServicePort:
    """A loopback port that forwards to the pod that a Service currently selects."""

    def __init__(self, port, backend):
        self.port = port
        self._listener = socket.create_server(("127.0.0.1", port))
        self._backend = backend
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._relay, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _relay(self, client):
        with client:
            port = self._backend()
            if port is None:
                return
            with socket.create_connection(("127.0.0.1", port)) as server:
                back = threading.Thread(target=copy_bytes, args=(server, client))
                back.start()
                copy_bytes(client, server)
                back.join()


def copy_bytes(source, target):
    with contextlib.suppress(OSError):
        while chunk := source.recv(65536):
            target.sendall(chunk)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def matches(made, selector):
    labels = made["metadata"]["labels"]
    return all(
        labels.get(key) == text
        for key, _, text in (part.partition("=") for part in selector.split(","))
    )
