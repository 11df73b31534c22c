"""oras pushes artifacts and attaches others to them, without and with a login; referrers list what was attached."""

import json
from collections.abc import Sequence
from pathlib import Path

from tests.clients.login import PASSWORD, USER, WRONG_PASSWORD
from tests.clients.pulling import list_referrers, pull_image
from tests.clients.tools import find_current_tool, run, run_refused

PLAIN = "--plain-http"
KIND = "application/vnd.example.artifact"
SBOM_KIND = "application/vnd.example.sbom"


ARTIFACT, SBOM = bytes(range(256)) * 1000, b'{"packages": []}'


class Oras:
    """oras in a directory with a file to push and one to attach, and with the credentials that it keeps there."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._program = find_current_tool("oras")
        (directory / "artifact").write_bytes(ARTIFACT)
        (directory / "sbom").write_bytes(SBOM)

    def __call__(self, *arguments: str) -> str:
        return run(self._command(arguments), directory=self.directory)

    def refused(self, *arguments: str) -> str:
        return run_refused(self._command(arguments), directory=self.directory)

    def send(self, *arguments: str) -> str:
        """Push or attach, and return the digest."""
        return str(json.loads(self(*arguments, "--format", "json"))["digest"])

    def _command(self, arguments: Sequence[str]) -> list[str]:
        return [self._program, *arguments, "--registry-config", "auth.json"]


def push(target: str) -> list[str]:
    return ["push", PLAIN, "--artifact-type", KIND, target, "artifact"]


def attach(target: str) -> list[str]:
    return ["attach", PLAIN, "--artifact-type", SBOM_KIND, target, "sbom"]


def test_oras_pushes_and_what_it_attaches_is_listed(registry, tmp_path: Path) -> None:
    oras, target = Oras(tmp_path), f"{registry.address}/local/oras:1"

    pushed, attached = oras.send(*push(target)), oras.send(*attach(target))

    (found,) = json.loads(oras("discover", PLAIN, "--format", "json", target))["referrers"]
    assert (found["digest"], found["artifactType"]) == (attached, SBOM_KIND)
    assert list_referrers(registry.url, "local/oras", pushed) == [attached]
    assert ARTIFACT in pull_image(registry.url, "local/oras", "1").contents.values()
    assert SBOM in pull_image(registry.url, "local/oras", attached).contents.values()
    # No tag that stands for a list of referrers, as clients write one where there is no such list.
    assert oras("repo", "tags", PLAIN, f"{registry.address}/local/oras").split() == ["1"]


def test_oras_copies_an_artifact_with_its_referrers(registry, tmp_path: Path) -> None:
    oras = Oras(tmp_path)
    source, target = f"{registry.address}/local/oras-a:1", f"{registry.address}/local/oras-b:1"
    pushed, attached = oras.send(*push(source)), oras.send(*attach(source))

    run([find_current_tool("oras"), "copy", "--recursive", "--from-plain-http", "--to-plain-http", source, target])

    assert list_referrers(registry.url, "local/oras-b", pushed) == [attached]
    assert pull_image(registry.url, "local/oras-b", attached) == pull_image(registry.url, "local/oras-a", attached)


def test_a_user_pushes_by_oras_and_everybody_pulls(guarded_registry, tmp_path: Path, workplace: Path) -> None:
    oras, address = Oras(tmp_path), guarded_registry.address
    target, login = f"{address}/local/oras:1", ["login", PLAIN, "-u", USER, address, "-p"]

    assert "authentication required" in oras.refused(*push(target))
    assert "wrong user name or password" in oras.refused(*login, WRONG_PASSWORD)
    oras(*login, PASSWORD)
    pushed, attached = oras.send(*push(target)), oras.send(*attach(target))

    nobody = Oras(workplace)
    (workplace / "artifact").unlink()
    nobody("pull", PLAIN, target)
    assert (workplace / "artifact").read_bytes() == ARTIFACT
    assert list_referrers(guarded_registry.url, "local/oras", pushed) == [attached]
