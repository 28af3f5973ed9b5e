"""A minimal image registry for pushes: blobs and manifests in memory."""

import hashlib
import threading
import uuid
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ImageRegistry(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self._answer(200)

    def do_HEAD(self):
        found = self.path.rpartition("/")[2] in self.server.blobs
        self._answer(200 if found else 404)

    def do_POST(self):
        self._read()
        self._answer(202, {"Location": f"/v2/uploads/{uuid.uuid4()}"})

    def do_PATCH(self):
        content = self.server.uploads[self.path] = self._read()
        self._answer(202, {"Location": self.path, "Range": f"0-{len(content) - 1}"})

    def do_PUT(self):
        content = self._read()
        if "/manifests/" in self.path:
            self.server.manifests[self.path] = content
        else:
            place, _, query = self.path.partition("?")
            content = self.server.uploads.pop(place, b"") + content
            assert f"digest=sha256%3A{hashlib.sha256(content).hexdigest()}" in query
            self.server.blobs[query.replace("%3A", ":").partition("digest=")[2]] = content
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        self._answer(201, {"Docker-Content-Digest": digest})

    def _read(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            content = b""
            while size := int(self.rfile.readline(), 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, status, headers=None):
        self.send_response(status)
        for name, text in ({"Content-Length": "0"} | (headers or {})).items():
            self.send_header(name, text)
        self.end_headers()

    def log_message(self, *_):
        """Log nothing."""


@contextmanager
def image_registry():
    """Yield a registry on a loopback port, which engines trust without TLS."""
    with ThreadingHTTPServer(("127.0.0.1", 0), ImageRegistry) as server:
        server.blobs, server.uploads, server.manifests = {}, {}, {}
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
