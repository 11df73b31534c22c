"""`lend` beside a running cache with a pinned tag: what is left out is said."""

from tests.builders import blob, image
from tests.fakes.upstream_registry import ThreadedRegistry
from tests.integration.pushing import manifest_of
from tests.processes.caches import NAME, RunningCache
from tests.processes.test_collect import send
from tests.processes.test_commands import run

APP = "local/app"
BASE = image(layers=2, seed="base")
SHARED, OTHER = BASE.layers
CONFIG = blob(2, seed="config")


def test_layers_of_pinned_tags_are_left_out(cache: RunningCache, upstream: ThreadedRegistry) -> None:
    upstream.add_image(NAME, BASE, tag="3")
    for each in (SHARED, OTHER, CONFIG):
        assert send(cache, "POST", f"/v2/{APP}/blobs/uploads/?digest={each.digest}", each).status == 201
    for tag, layers in (("1", (SHARED, OTHER)), ("2", (SHARED,))):
        manifest = manifest_of(*layers, config=CONFIG)
        assert send(cache, "PUT", f"/v2/{APP}/manifests/{tag}", manifest).status == 201
    assert run(cache, "bases", "add", "alpine:3")[0] == 0
    assert run(cache, "pin", f"{APP}:2")[0] == 0

    some, none = run(cache, "lend", f"{APP}:1"), run(cache, "lend", f"{APP}:2")

    assert some[0] == 0
    assert some[1].startswith(f"lent 1 blobs, {OTHER.size} bytes\n")
    assert f"left out {SHARED.digest}: a pinned tag has it" in some[1]
    assert none[0] == 1
    assert none[1].startswith(f"nothing was lent: all layers of {APP}:2 are those of pinned tags")
