"""Just enough of Docker's API, over its unix socket: the command line of one version refuses the daemon of another."""

import base64
import contextlib
import http.client
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

HUB_ADDRESS = "https://index.docker.io/v1/"  # by this name docker keeps what one signs in to Docker Hub with


class DockerRefused(Exception):
    """The daemon says no, in the words that `docker` would print."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("docker", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Push:
    """One that the daemon works at; it ends where the connection does."""

    def __init__(self, connection: _UnixConnection, name: str) -> None:
        self._connection = connection
        self._socket = connection.sock  # which the connection gives away when the answer begins
        self._name = name

    def finish(self) -> None:
        """Wait for the end; raises DockerRefused, or OSError or HTTPException if the daemon is gone."""
        try:
            events = _events(_read(self._connection.getresponse()))
        finally:
            self._connection.close()
        # Every push that succeeds ends with what was pushed; a stream that is cut does not.
        if not any("digest:" in event.get("status", "") for event in events):
            raise DockerRefused(f"docker push {self._name}: no end: {events[-3:]}")

    def cancel(self) -> None:
        """Close the connection; `finish`, in another thread, ends."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


class DockerApi:
    """The daemon behind one socket. What it refuses raises DockerRefused."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def answers(self) -> bool:
        try:
            return self._ask("GET", "/_ping") == b"OK"
        except (OSError, DockerRefused):
            return False

    def uses_containerd_store(self) -> bool:
        status = json.loads(self._ask("GET", "/info"))["DriverStatus"] or []
        return ["driver-type", "io.containerd.snapshotter.v1"] in status

    def pull(self, name: str, tag: str, sign_in: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        """Pull an image, and return the daemon's events."""
        query = urlencode({"fromImage": name, "tag": tag})
        return _events(self._ask("POST", f"/images/create?{query}", headers=_auth_header(sign_in)))

    def load(self, archive: Path) -> None:
        """Load what `docker save` writes."""
        _events(self._ask("POST", "/images/load", archive.read_bytes(), {"Content-Type": "application/x-tar"}))

    def build(self, context: bytes, image: str, *, with_buildkit: bool) -> None:
        """Build an image from an archive with a Dockerfile in it."""
        query = urlencode({"t": image, "version": 2 if with_buildkit else 1})
        events = _events(self._ask("POST", f"/build?{query}", context, {"Content-Type": "application/x-tar"}))
        assert any(event.get("id") == "moby.buildkit.trace" for event in events) == with_buildkit

    def tag(self, image: str, name: str, tag: str) -> None:
        self._ask("POST", f"/images/{quote(image)}/tag?{urlencode({'repo': name, 'tag': tag})}")

    def push(self, name: str, tag: str, sign_in: Mapping[str, str] | None = None) -> None:
        """Push an image; `sign_in` is what `docker login` has kept for its registry."""
        self.begin_push(name, tag, sign_in).finish()

    def begin_push(self, name: str, tag: str, sign_in: Mapping[str, str] | None = None) -> Push:
        """Ask for a push, and do not wait."""
        connection = _UnixConnection(self._path)
        connection.request("POST", f"/images/{quote(name)}/push?{urlencode({'tag': tag})}", None, _auth_header(sign_in))
        return Push(connection, f"{name}:{tag}")

    def login(self, sign_in: Mapping[str, str]) -> None:
        """Find out, as `docker login` does, whether a registry accepts that."""
        self._ask("POST", "/auth", json.dumps(sign_in).encode(), {"Content-Type": "application/json"})

    def inspect(self, image: str) -> Any:
        return json.loads(self._ask("GET", f"/images/{image}/json"))

    def export(self, image: str) -> bytes:
        """Return the file system of a container made of the image, as an archive."""
        wanted = json.dumps({"Image": image, "Cmd": ["/bin/sh"]}).encode()
        created = json.loads(self._ask("POST", "/containers/create", wanted, {"Content-Type": "application/json"}))
        return self._ask("GET", f"/containers/{created['Id']}/export")

    def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        connection = _UnixConnection(self._path)
        try:
            connection.request(method, path, body, headers or {})
            return _read(connection.getresponse())
        finally:
            connection.close()


def sign_in_for(address: str, user: str, password: str) -> dict[str, str]:
    """Return what docker keeps after `docker login`."""
    return {"username": user, "password": password, "serveraddress": address}


def _auth_header(sign_in: Mapping[str, str] | None) -> dict[str, str]:
    text = json.dumps(sign_in or {}).encode()
    return {"X-Registry-Auth": base64.urlsafe_b64encode(text).decode()}


def _read(response: http.client.HTTPResponse) -> bytes:
    received = response.read()
    if response.status >= 400:
        raise DockerRefused(f"{response.status} {received.decode(errors='replace')}")
    return received


def _events(body: bytes) -> list[dict[str, Any]]:
    """Return what the daemon said while it worked; raises DockerRefused with its own words if there was an error."""
    events = [json.loads(line) for line in body.splitlines()]
    errors = [event["error"] for event in events if "error" in event]
    if errors:
        raise DockerRefused(errors)
    return events
