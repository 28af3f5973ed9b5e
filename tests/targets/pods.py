"""Server processes of docker/serve.py that start fast: forked from a process with the imports.

Run as a script it is that process. Each connection requests a server, and receives its pid and, at
its end, its exit code.
"""

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class ProcessGroup:
    """The process that servers are forked from."""

    def __init__(self, folder):
        self._path = str(folder / "process_group.sock")
        command = [sys.executable, __file__, self._path]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
        assert self._process.stdout.readline() == b"ready\n"

    def start(self, place, port, arguments, environment, log):
        return Process(self._path, [str(place), port, arguments, environment, str(log)])

    def close(self):
        self._process.terminate()
        self._process.wait()
        self._process.stdout.close()


class Process:
    def __init__(self, path, wanted):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._lines = self._socket.makefile("r")
        self._socket.sendall(json.dumps(wanted).encode() + b"\n")
        self._pid = int(self._lines.readline())
        self._code = None

    def poll(self):
        """Return the exit code; None while it runs."""
        if self._code is None:
            self._socket.setblocking(False)
            try:
                ended = self._socket.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                return None
            finally:
                self._socket.setblocking(True)
            self._code = int(self._lines.readline()) if ended else -signal.SIGKILL
            self._lines.close()
            self._socket.close()
        return self._code

    def end(self):
        if self.poll() is None:
            os.kill(self._pid, signal.SIGTERM)
            self._socket.recv(1, socket.MSG_PEEK)
            self.poll()


def main(path):
    import httptools  # noqa: F401  imported before the fork, as all here
    import onnxruntime  # noqa: F401
    import uvloop  # noqa: F401
    from ml_pipeline.serving import app, server  # noqa: F401

    spec = importlib.util.spec_from_file_location("serve", ROOT / "docker/serve.py")
    serve = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(serve)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    listener.close()
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    be_server(serve, connection)


def be_server(serve, connection):
    lines = connection.makefile("rw")
    place, port, arguments, environment, log = json.loads(lines.readline())
    output = os.open(log, os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    lines.write(f"{os.getpid()}\n")
    lines.flush()
    os.environ.clear()
    os.environ.update(environment)
    serve.PLACE, serve.PORT = Path(place), port
    try:
        code = serve.main(arguments)
    except SystemExit as exit_:
        code = exit_.code
    sys.stderr.flush()
    lines.write(f"{code}\n")
    lines.flush()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
