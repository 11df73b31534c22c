"""The README's way to push only what is yours, run as it is written, with another image in the place of python."""

import re
import sys
from pathlib import Path

from tests.clients.dockerd import current_dockerd
from tests.clients.fixtures import README, README_ADDRESS
from tests.clients.lending import Place
from tests.clients.public_base import BASE_BYTES, MOST_BYTES, PRIVATE
from tests.clients.thin_pushers import MIRRORED
from tests.clients.tools import find_tool, run

_SECTION = "## Push only what is yours"


def _commands(place: Place) -> tuple[str, str]:
    """Return the two blocks of commands, for this place."""
    section = README.read_text().partition(_SECTION)[2].partition("\n## ")[0]
    for written, here in ((README_ADDRESS, place.address), ("python:3.12", MIRRORED), ("debian:12", MIRRORED)):
        section = section.replace(written, here)
    build, look = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    command = f'{sys.executable} -m proxycache "$@" --config {place.directory / "proxycache.toml"}'
    return build, f"proxycache() {{ {command}; }}\n{look}"


def test_what_the_readme_says_of_pushing_only_what_is_yours(place: Place, workplace: Path) -> None:
    find_tool("docker")
    build, look = _commands(place)
    program = workplace / "program"
    program.mkdir()
    (program / "private").write_bytes(PRIVATE["srv/private"])

    with current_dockerd(workplace, "--registry-mirror", place.url):
        # A `docker` without its buildx plugin builds by the classic builder when it is told to.
        environment = {"DOCKER_HOST": f"unix://{workplace / 'sock'}", "DOCKER_BUILDKIT": "0"}
        said = run(["sh", "-ec", build], environment=environment, directory=program)

    assert said.count("Layer already exists") == 2
    assert place.owned_bytes < MOST_BYTES
    before, lend, after = look.partition("proxycache lend")
    assert "local/app" in run(["sh", "-ec", before])
    assert place.owned_bytes > BASE_BYTES
    run(["sh", "-ec", before.splitlines()[0] + "\n" + lend + after])
    assert place.owned_bytes < MOST_BYTES
