"""Just enough of Docker's API, over its unix socket: the command line of one version refuses the daemon of another."""

import http.client
import json
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("docker", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class DockerApi:
    """The daemon behind one socket."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def answers(self) -> bool:
        try:
            return self._ask("GET", "/_ping") == b"OK"
        except OSError:
            return False

    def uses_containerd_store(self) -> bool:
        status = json.loads(self._ask("GET", "/info"))["DriverStatus"] or []
        return ["driver-type", "io.containerd.snapshotter.v1"] in status

    def pull(self, name: str, tag: str) -> None:
        """Pull an image, and fail with the daemon's own words if it does not come."""
        lines = self._ask("POST", f"/images/create?{urlencode({'fromImage': name, 'tag': tag})}").splitlines()
        errors = [event["error"] for event in map(json.loads, lines) if "error" in event]
        if errors:
            pytest.fail(f"docker pull {name}:{tag}: {errors}")

    def inspect(self, image: str) -> Any:
        return json.loads(self._ask("GET", f"/images/{image}/json"))

    def export(self, image: str) -> bytes:
        """Return the file system of a container made of the image, as an archive."""
        created = json.loads(self._ask("POST", "/containers/create", {"Image": image, "Cmd": ["/bin/sh"]}))
        return self._ask("GET", f"/containers/{created['Id']}/export")

    def _ask(self, method: str, path: str, body: Any = None) -> bytes:
        connection = _UnixConnection(self._path)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            received = response.read()
        finally:
            connection.close()
        if response.status >= 400:
            pytest.fail(f"docker {method} {path}: {response.status} {received.decode(errors='replace')}")
        return received
