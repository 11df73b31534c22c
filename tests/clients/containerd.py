"""containerd with `ctr`: Debian's version and the current one, each daemon with storage of its own."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tests.builders import Image
from tests.clients.debian_image import gather_contents
from tests.clients.services import running
from tests.clients.tools import CURRENT_PATH, find_current_tool, find_tool, require_root, run


class Ctr:
    """`ctr` of one containerd, which has storage of its own."""

    def __init__(self, program: str, socket: Path, hosts_directory: Path) -> None:
        self._command: list[str | Path] = [program, "--address", socket]
        self._hosts_directory = hosts_directory

    def pull(self, reference: str, *options: str) -> None:
        pull: list[str | Path] = ["images", "pull", "--hosts-dir", self._hosts_directory, *options]
        run([*self._command, *pull, reference])

    def push(self, pulled: str, reference: str) -> None:
        """Push every platform of what was pulled, under another name."""
        run([*self._command, "images", "tag", pulled, reference])
        run([*self._command, "images", "push", "--plain-http", reference])

    def check_contents(self, image: Image, directory: Path) -> None:
        """Compare everything of the image that containerd holds with what was built."""
        for digest, built in gather_contents(image).items():
            assert self.read(digest, directory) == built.body

    def read(self, digest: str, directory: Path) -> bytes:
        """Return content that containerd holds; it goes through a file in `directory`."""
        exported = directory / "content"
        run(["sh", "-c", '"$@" > "$0"', exported, *self._command, "content", "get", digest])
        return exported.read_bytes()


@contextlib.contextmanager
def containerd(directory: Path, hosts_directory: Path, *, path: str) -> Iterator[Ctr]:
    require_root()
    find = find_current_tool if path == CURRENT_PATH else find_tool
    program, client, socket = find("containerd"), find("ctr"), directory / "sock"
    settings = directory / "config.toml"
    settings.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
    command: list[str | Path] = [program, "--config", settings, "--address", socket]
    command += ["--root", directory / "root", "--state", directory / "state"]
    with running(
        command,
        address="",
        log=directory / "log",
        is_ready=socket.exists,
        environment={"PATH": path},
    ):
        yield Ctr(client, socket, hosts_directory)
