"""podman with storage of its own."""

from pathlib import Path

from tests.clients.tools import find_tool, run, run_refused


class Podman:
    """podman with storage of its own."""

    def __init__(self, directory: Path, registries_conf: Path) -> None:
        storage: list[str | Path] = [
            "--root",
            directory / "root",
            "--runroot",
            directory / "run",
            "--storage-driver",
            "vfs",
        ]
        self._command: list[str | Path] = [find_tool("podman"), *storage, "--cgroup-manager", "cgroupfs"]
        signed_in = directory / "auth.json"
        signed_in.write_text("{}")
        self._environment = {
            "CONTAINERS_REGISTRIES_CONF": str(registries_conf),
            "REGISTRY_AUTH_FILE": str(signed_in),
        }
        self._directory = directory

    def __call__(self, *arguments: str | Path) -> str:
        return run([*self._command, *arguments], environment=self._environment)

    def refused(self, *arguments: str | Path) -> str:
        """Do what must fail, and return what podman said."""
        return run_refused([*self._command, *arguments], environment=self._environment)

    def export(self, image: str) -> bytes:
        archive = self._directory / "export.tar"
        self("export", "-o", archive, self("create", image).strip())
        return archive.read_bytes()
