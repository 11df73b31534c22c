"""Ten images on one public base over a line of 2 MB/s: how long do they take, and how much is sent?

The base lies upstream, and proxycache has seen its manifest; docker-registry has to be sent it. Each image is pushed by
a `crane` of its own from an OCI layout, as by build machines that share nothing: each into a repository of its own,
where docker-registry is sent the base each time, then all into one, where that is once.
One run: the line sets the pace.
"""

import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.bench import Bench, Samples
from benchmarks.downloads import WrongAnswer, download
from benchmarks.narrow_line import NarrowLine, narrow_line
from benchmarks.origin import MANIFEST_TYPE, REPOSITORY, Descriptor, Tree, archive_of, digest_of, nginx_origin
from benchmarks.peers import DOCKER_REGISTRY, PROXYCACHE
from benchmarks.processes import Server, SubjectAbsent
from benchmarks.question import Finding, Question, at_most, compare

_RATE = 2_000_000
_IMAGES = 10
_OWN_SIZE = 100_000
_BASE_LAYERS = 2
_BASE_TAG = "base"
_GIVES_UP_AFTER_SECONDS = 600.0
_RULES = '[{ who = "anonymous", actions = ["pull", "push"] }]'  # who comes over the line is not on this machine
_OPEN_TO_ALL = replace(PROXYCACHE, environment={"PROXYCACHE_AUTH__ACCESS": _RULES})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Targets:
    """Where the images go, and what was found of that."""

    text: str
    names: Sequence[str]
    seconds: Samples
    megabytes: Samples


def _ask(bench: Bench) -> Iterator[Finding]:
    size = (5 if bench.is_quick else 50) * 1_000_000
    tree = bench.new_tree()
    tree.add_image(_BASE_TAG, layers=_BASE_LAYERS, size=size // _BASE_LAYERS)
    layouts = [_make_layout(tree, bench.new_place(f"image{number}"), number) for number in range(_IMAGES)]
    every = [
        _targets("a repository each", [f"local/app{number}:1" for number in range(_IMAGES)]),
        _targets("all in one repository", [f"local/app:{number}" for number in range(_IMAGES)]),
    ]
    with nginx_origin(tree, bench.new_place("origin")) as nginx:
        for subject, upstream_port in ((_OPEN_TO_ALL, nginx.port), (DOCKER_REGISTRY, None)):
            for targets in every:
                with targets.seconds.noting_absence(subject.name), bench.fresh(subject, upstream_port) as server:
                    if upstream_port is not None:
                        download(server, f"/v2/{REPOSITORY}/manifests/{_BASE_TAG}")
                    _measure(server, layouts, targets)
    what = f"{_IMAGES} images of {_OWN_SIZE // 1000} kB on a base of {size // 1_000_000} MB over 2 MB/s"
    for targets in every:
        text = f"push {what}, {targets.text}"
        yield compare(f"{text}: time", targets.seconds, DOCKER_REGISTRY.name, at_most(0.1))
        yield compare(f"{text}: bytes sent", targets.megabytes, DOCKER_REGISTRY.name, at_most(0.1))


def _targets(text: str, names: Sequence[str]) -> _Targets:
    return _Targets(text=text, names=names, seconds=Samples(unit="s"), megabytes=Samples(unit="MB"))


def _measure(server: Server, layouts: Sequence[Path], targets: _Targets) -> None:
    with narrow_line(server.port, rate=_RATE) as line:
        began = time.monotonic()
        for layout, name in zip(layouts, targets.names, strict=True):
            _push(line, layout, name)
        targets.seconds.add(server.name, time.monotonic() - began)
        targets.megabytes.add(server.name, line.relay.sent_bytes / 1_000_000)


def _push(line: NarrowLine, layout: Path, name: str) -> None:
    command = [*line.prefix, _find_crane(), "push", "--insecure", str(layout), f"{line.address}/{name}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_GIVES_UP_AFTER_SECONDS, check=False)
    if done.returncode != 0:
        raise WrongAnswer(f"crane push {name}: {done.stderr.strip()[-300:]}")


def _find_crane() -> str:
    """The `crane` of the directory that PROXYCACHE_TOOLS names, else of PATH."""
    tools = os.environ.get("PROXYCACHE_TOOLS", "")
    program = shutil.which("crane", path=f"{tools}:{os.environ.get('PATH', '')}")
    if program is None:
        raise SubjectAbsent("crane is not there: PROXYCACHE_TOOLS names no directory with it")
    return program


def _make_layout(tree: Tree, layout: Path, number: int) -> Path:
    """Write an image with the base's layers, byte for byte, and one of its own."""
    folder = layout / "blobs" / "sha256"
    folder.mkdir(parents=True)

    def add(media_type: str, content: bytes) -> Descriptor:
        digest = digest_of(content)
        (folder / digest.removeprefix("sha256:")).write_bytes(content)
        return {"mediaType": media_type, "digest": digest, "size": len(content)}

    base = _read(tree, f"manifests/{_BASE_TAG}")
    for layer in base["layers"]:
        source = tree.file_of(f"/v2/{REPOSITORY}/blobs/{layer['digest']}")
        os.link(source, folder / layer["digest"].removeprefix("sha256:"))
    own = archive_of(f"own{number}", random.Random(f"own {number}").randbytes(_OWN_SIZE))
    config = _read(tree, f"blobs/{base['config']['digest']}")
    config["rootfs"]["diff_ids"].append(digest_of(own))
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": add(base["config"]["mediaType"], json.dumps(config).encode()),
        "layers": [*base["layers"], add(base["layers"][0]["mediaType"], own)],
    }
    index = {"schemaVersion": 2, "manifests": [add(MANIFEST_TYPE, json.dumps(manifest).encode())]}
    (layout / "index.json").write_text(json.dumps(index))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return layout


def _read(tree: Tree, name: str) -> Any:
    return json.loads(tree.file_of(f"/v2/{REPOSITORY}/{name}").read_bytes())


QUESTION = Question(name="thin-push", ask=_ask)
