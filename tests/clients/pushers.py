"""Clients that push one image after the other to one place, and whose push can be killed."""

import contextlib
import http.client
import random
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from tests.builders import image
from tests.clients.archives import docker_archive, tar_of, write_layout
from tests.clients.debian_image import Rootfs
from tests.clients.docker_api import DockerRefused, Push
from tests.clients.dockerd import Dockerd
from tests.clients.tools import find_current_tool

_LAYER_BYTES = 200_000


class Pusher(Protocol):
    """One client."""

    def prepare(self, number: int, target: str) -> str:
        """Have image `number`, to be pushed to `target`; return the digest of its configuration."""
        ...

    def push(self) -> bool:
        """Push it, and tell whether the client said that this succeeded."""
        ...

    def give_up(self) -> None:
        """Let `push` end, from another thread."""
        ...

    @property
    def kills(self) -> Mapping[str, Callable[[], None]]:
        """The ways in which this client can die in the middle, by what dies."""
        ...


class Crane:
    """crane, with images in layouts."""

    def __init__(self, directory: Path) -> None:
        self._program = find_current_tool("crane")
        self._layout = directory / "layout"
        self._target = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._has_begun = threading.Event()

    def prepare(self, number: int, target: str) -> str:
        built = image(layers=3, layer_size=_LAYER_BYTES, seed=number)
        shutil.rmtree(self._layout, ignore_errors=True)
        write_layout(self._layout, built)
        self._target = target
        assert built.config is not None
        return built.config.digest

    def push(self) -> bool:
        self._has_begun.clear()
        command = [self._program, "push", "--insecure", str(self._layout), self._target]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as self._process:
            self._has_begun.set()
        return self._process.returncode == 0

    def give_up(self) -> None:
        self._has_begun.wait(10)
        if self._process is not None:
            self._process.kill()

    @property
    def kills(self) -> Mapping[str, Callable[[], None]]:
        return {"client": self.give_up}


class Docker:
    """dockerd, with a base layer that stays and two layers that are new each time; a new one after its death."""

    def __init__(self, directory: Path, start: Callable[[Path], AbstractContextManager[Dockerd]]) -> None:
        self._directory = directory
        self._start = start
        self._name = ""
        self._daemon: Dockerd | None = None
        self._daemons = contextlib.ExitStack()
        self._push: Push | None = None
        self._has_begun = threading.Event()

    def close(self) -> None:
        self._daemons.close()

    def prepare(self, number: int, target: str) -> str:
        if self._daemon is None:
            directory = self._directory / str(number)
            directory.mkdir()
            self._daemon = self._daemons.enter_context(self._start(directory))
        layers = tuple(_make_layer(seed) for seed in ("base", f"{number} a", f"{number} b"))
        archive, name = self._directory / "image.tar", f"proxycache-test/pushed:{number}"
        config = docker_archive(archive, Rootfs(layers=layers, tree={}), name=name)
        self._daemon.load(archive)
        self._name, _, tag = target.rpartition(":")
        self._daemon.tag(name, self._name, tag)
        return config

    def push(self) -> bool:
        assert self._daemon is not None
        self._has_begun.clear()
        try:
            self._push = self._daemon.begin_push(self._name, "latest")
            self._has_begun.set()
            self._push.finish()
        except (DockerRefused, OSError, http.client.HTTPException):
            return False
        return True

    def give_up(self) -> None:
        self._has_begun.wait(10)
        if self._push is not None:
            self._push.cancel()

    @property
    def kills(self) -> Mapping[str, Callable[[], None]]:
        return {"request": self.give_up, "daemon": self._kill_daemon}

    def _kill_daemon(self) -> None:
        daemon, self._daemon = self._daemon, None
        if daemon is not None:
            daemon.kill()


def _make_layer(seed: str) -> bytes:
    return tar_of({f"srv/{seed}": random.Random(seed).randbytes(_LAYER_BYTES)})
