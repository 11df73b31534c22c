"""The subjects: proxycache and its peers, each a cache of one upstream with its own defaults, log to a file."""

import contextlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.processes import Server, SubjectAbsent, free_port, serve

DRAYAGE_VERSION = "0.2.9"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a subject is told: its upstream (None: it is no cache but a registry), its port, a directory of its own."""

    upstream: str | None
    port: int
    directory: Path

    def write(self, name: str, text: str) -> Path:
        file = self.directory / name
        file.write_text(text)
        return file


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A cache. `command` writes its configuration and says how to start it, or raises SubjectAbsent."""

    name: str
    command: Callable[[Place], list[str]]
    find_version: Callable[[], str]
    environment: dict[str, str] = field(default_factory=dict)

    @contextlib.contextmanager
    def start(self, upstream_port: int | None, directory: Path) -> Iterator[Server]:
        """Run it with its content below `directory`, which may hold content of an earlier run and stays."""
        directory.mkdir(parents=True, exist_ok=True)
        upstream = None if upstream_port is None else f"http://127.0.0.1:{upstream_port}"
        place = Place(upstream=upstream, port=free_port(), directory=directory)
        command = self.command(place)
        log = directory / f"{self.name}.log"
        with serve(self.name, command, port=place.port, log=log, environment=self.environment) as server:
            yield server


def _start_proxycache(place: Place) -> list[str]:
    configuration = (
        f'[server]\nlisten = "127.0.0.1:{place.port}"\n[storage]\ndirectory = "{place.directory / "content"}"\n'
    )
    if place.upstream is not None:
        configuration += f'[upstreams."docker.io"]\nurl = "{place.upstream}"\n'
    file = place.write("proxycache.toml", configuration)
    return [sys.executable, "-m", "proxycache", "serve", "--config", str(file)]


def _registry_configuration(place: Place) -> str:
    configuration = (
        "version: 0.1\n"
        f"storage: {{filesystem: {{rootdirectory: {place.directory / 'content'}}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '127.0.0.1:{place.port}', secret: benchmark}}\n"
    )
    if place.upstream is not None:
        configuration += f"proxy: {{remoteurl: '{place.upstream}'}}\n"
    return str(place.write("registry.yml", configuration))


def _start_docker_registry(place: Place) -> list[str]:
    return [_find_program("docker-registry"), "serve", _registry_configuration(place)]


def _start_distribution(place: Place) -> list[str]:
    return [_find_distribution(), "serve", _registry_configuration(place)]


def _start_drayage(place: Place) -> list[str]:
    content = place.directory / "content"
    content.mkdir(exist_ok=True)
    configuration = (
        f'listen = "127.0.0.1:{place.port}"\ncache_dir = "{content}"\n'
        f'[upstreams.docker_io]\nregistry = "{place.upstream}"\n'
    )
    file = place.write("drayage.toml", configuration)
    return [_install_drayage(), "serve", "--config", str(file)]


def _find_program(name: str) -> str:
    program = shutil.which(name)
    if program is None:
        raise SubjectAbsent(f"{name} is not installed")
    return program


def _find_distribution() -> str:
    """Distribution 3's `registry`, from the directory that PROXYCACHE_TOOLS names, else from PATH."""
    tools = os.environ.get("PROXYCACHE_TOOLS", "")
    program = shutil.which("registry", path=f"{tools}:{tools}/bin" if tools else None)
    if program is None:
        raise SubjectAbsent("distribution 3 is not there: PROXYCACHE_TOOLS names no directory with its `registry`")
    return program


def _install_drayage() -> str:
    """Its program in a virtual environment below the user's cache directory, made on first use."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    environment = cache / "proxycache-benchmarks" / f"drayage-{DRAYAGE_VERSION}"
    program = environment / "bin" / "drayage"
    if not program.exists():
        venv.create(environment, with_pip=True)
        install = [str(environment / "bin" / "pip"), "install", "--quiet", f"drayage=={DRAYAGE_VERSION}"]
        installed = subprocess.run(install, capture_output=True, text=True, check=False, timeout=120)
        if installed.returncode != 0:
            raise SubjectAbsent(f"drayage could not be installed: {installed.stderr.strip().splitlines()[-1]}")
    return str(program)


def version_of(command: list[str]) -> str:
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    lines = (answer.stdout + answer.stderr).strip().splitlines()
    return lines[-1] if lines else "unknown"


PROXYCACHE = Subject(
    name="proxycache",
    command=_start_proxycache,
    find_version=lambda: importlib.metadata.version("proxycache"),
)
DOCKER_REGISTRY = Subject(
    name="docker-registry",
    command=_start_docker_registry,
    find_version=lambda: version_of([_find_program("docker-registry"), "--version"]),
)
DISTRIBUTION = Subject(
    name="distribution 3",
    command=_start_distribution,
    find_version=lambda: version_of([_find_distribution(), "--version"]),
    environment={"OTEL_TRACES_EXPORTER": "none"},  # its default exporter would look for a collector
)
DRAYAGE = Subject(
    name="drayage",
    command=_start_drayage,
    find_version=lambda: version_of([_install_drayage(), "--version"]),
)
EVERY_SUBJECT = (PROXYCACHE, DOCKER_REGISTRY, DISTRIBUTION, DRAYAGE)
