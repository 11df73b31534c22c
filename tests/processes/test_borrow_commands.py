"""`bases`, `adopt`, `lend` and `usage` beside a running cache, and its own background jobs, with two workers."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.builders import OCI_CONFIG, Content, blob, image, json_content
from tests.fakes.upstream_registry import ThreadedRegistry
from tests.integration.pushing import manifest_of
from tests.processes.caches import NAME, RunningCache, blob_path, manifest_path, wait_until
from tests.processes.test_collect import send
from tests.processes.test_commands import from_each, restart, run

APP, CANONICAL = "local/app", f"docker.io/{NAME}"
BASE = image(platforms=("linux/amd64", "linux/arm64"), seed="base")
LAYERS = BASE.children[0].layers
OWN = blob(500, seed="own")
CONFIG = json_content({"rootfs": {"diff_ids": [each.digest for each in (*LAYERS, OWN)]}}, OCI_CONFIG)
IMAGE = manifest_of(*LAYERS, OWN, config=CONFIG)
BORROWED = sum(layer.size for layer in LAYERS)


def push_thin(cache: RunningCache) -> None:
    """Push IMAGE and only those of its blobs that no upstream has."""
    for each in (OWN, CONFIG):
        assert send(cache, "POST", f"/v2/{APP}/blobs/uploads/?digest={each.digest}", each).status == 201
    assert send(cache, "PUT", f"/v2/{APP}/manifests/1", IMAGE).status == 201


def layer_bodies(cache: RunningCache, layer: Content) -> set[bytes]:
    return {got.body for got in from_each(cache, f"/v2/{APP}/blobs/{layer.digest}")}


def usage(cache: RunningCache) -> dict[str, Any]:
    code, printed = run(cache, "usage", "--json")
    assert code == 0, printed
    found: dict[str, Any] = json.loads(printed)
    return found


def count_loans(cache: RunningCache) -> int:
    with closing(sqlite3.connect(cache.layout.database)) as database:
        [(count,)] = database.execute("SELECT count(*) FROM borrowed_links")
    return int(count)


def test_a_base_that_was_added_is_known_to_both_workers(cache: RunningCache, upstream: ThreadedRegistry) -> None:
    upstream.add_image(NAME, BASE, tag="3")

    added = run(cache, "bases", "add", "alpine:3", "busybox:1")

    assert added[0] == 1
    assert f"added {CANONICAL}:3: {BASE.digest}, 2 images, 4 layers\n" in added[1]
    assert "not added docker.io/library/busybox:1: docker.io: not found\n" in added[1]
    for worker in cache.wait_for_workers():
        for layer in LAYERS:
            answer = cache.connect(worker)
            answer.ask(f"/v2/{APP}/blobs/{layer.digest}", method="HEAD")
            assert answer.finish().headers["content-length"] == str(layer.size)
    assert upstream.count("GET", "/blobs/") == 2  # the configs
    assert run(cache, "bases", "list") == (0, f"{CANONICAL}:3\n")
    assert run(cache, "bases", "add", "alpine:3") == (0, f"added {CANONICAL}:3: unchanged {BASE.digest}\n")
    assert run(cache, "bases", "remove", "alpine:3") == (0, f"removed {CANONICAL}:3\n")
    assert run(cache, "bases", "remove", "alpine:3") == (1, f"{CANONICAL}:3 was not added\n")


def test_what_cannot_be_a_base_is_one_line(cache: RunningCache, upstream: ThreadedRegistry) -> None:
    why = "local.borrow and local.borrow_from let nothing of ghcr.io be borrowed"

    assert run(cache, "bases", "add", "ghcr.io/org/app:1") == (2, f"proxycache: ghcr.io/org/app:1: {why}\n")
    assert run(cache, "bases", "add", f"{APP}:1")[0] == 2

    assert upstream.requests == []


def test_an_image_is_adopted_and_lent_while_both_workers_serve_it(
    cache: RunningCache, upstream: ThreadedRegistry
) -> None:
    upstream.add_image(NAME, BASE, tag="3")
    run(cache, "bases", "add", "alpine:3")
    push_thin(cache)
    cache.wait_for_log("image pushed", borrowed_bytes=BORROWED, sent_bytes=OWN.size + CONFIG.size)

    before = usage(cache)
    assert layer_bodies(cache, LAYERS[0]) == {LAYERS[0].body}
    cache.wait_until_published(LAYERS[0].digest)
    adopted = run(cache, "adopt", f"{APP}:1")
    owned = usage(cache)
    lent = run(cache, "lend", f"{APP}:1")
    after = usage(cache)

    own = OWN.size + CONFIG.size + IMAGE.size
    local = {"name": APP, "owned_bytes": own, "borrowed_bytes": BORROWED, "cached_bytes": 0}
    assert before["local"] == [local]
    assert adopted[0] == 0
    assert adopted[1].startswith(f"adopted 2 blobs, {BORROWED} bytes\n1/2 sha256:")
    assert owned["local"] == [{**local, "owned_bytes": own + BORROWED, "borrowed_bytes": 0}]
    assert lent[0] == 0
    assert lent[1].startswith(f"lent 2 blobs, {BORROWED} bytes\n")
    assert after["local"] == [{**local, "cached_bytes": BORROWED}]
    for layer in LAYERS:
        assert layer_bodies(cache, layer) == {layer.body}
    assert cache.get(manifest_path("3")).status == 200


def test_what_is_adopted_outlives_its_origin_and_what_is_not_is_told(
    cache: RunningCache, upstream: ThreadedRegistry
) -> None:
    upstream.add_image(NAME, BASE, tag="3")
    run(cache, "bases", "add", "alpine:3")
    push_thin(cache)
    held, lost = LAYERS
    assert layer_bodies(cache, held) == {held.body}
    cache.wait_until_published(held.digest)
    del upstream.repositories[NAME]

    code, told = run(cache, "adopt", f"{APP}:1")

    assert code == 1
    assert f"adopted 1 blobs, {held.size} bytes\n" in told
    assert f"cannot adopt {lost.digest}: docker.io: not found\n" in told
    assert layer_bodies(cache, held) == {held.body}
    assert {got.status for got in from_each(cache, f"/v2/{APP}/blobs/{lost.digest}")} == {404}
    assert [run(cache, "adopt", f"{APP}:none")[0], run(cache, "adopt", "alpine:3")[0]] == [1, 2]


def test_the_owner_may_do_what_no_rule_gives_to_who_asks(tmp_path: Path, upstream: ThreadedRegistry) -> None:
    upstream.add_image(NAME, BASE, tag="3")
    rule = '{ who = "anonymous", repositories = ["local/**"], actions = ["pull", "push"] }'
    with RunningCache(tmp_path, upstream.url, more=f"[auth]\naccess = [{rule}]") as cache:
        added = run(cache, "bases", "add", "alpine:3")
        for each in (*LAYERS, OWN, CONFIG):
            assert send(cache, "POST", f"/v2/{APP}/blobs/uploads/?digest={each.digest}", each).status == 201
        assert send(cache, "PUT", f"/v2/{APP}/manifests/1", IMAGE).status == 201
        lent = run(cache, "lend", f"{APP}:1")
        loans = count_loans(cache)
        adopted = run(cache, "adopt", f"{APP}:1")

        assert added == (0, f"added {CANONICAL}:3: {BASE.digest}, 2 images, 4 layers\n")
        assert (lent[0], loans, adopted[0], count_loans(cache)) == (0, 2, 0, 0)
        assert cache.get(manifest_path("3")).status in (401, 403)


def test_images_at_risk_are_told_at_the_next_start(cache: RunningCache, upstream: ThreadedRegistry) -> None:
    upstream.add_image(NAME, BASE, tag="3")
    run(cache, "bases", "add", "alpine:3")
    push_thin(cache)
    del upstream.repositories[NAME]
    with closing(sqlite3.connect(cache.layout.database)) as database, database:
        database.execute("UPDATE origins SET seen_at = seen_at - 100000")

    restart(cache)
    told = cache.wait_for_log("image at risk")

    assert (told["image"], told["blobs"], told["origins"], told["why"]) == (f"{APP}:1", 2, CANONICAL, "gone")
    wait_until(lambda: cache.metric("proxycache_images_at_risk") == 1, "the gauge")
    [risk] = usage(cache)["at_risk"]
    assert (risk["repository"], risk["reference"], risk["blobs"], risk["origins"]) == (APP, "1", 2, [CANONICAL])
    assert f"  {APP}:1: 2 blobs of {CANONICAL}" in run(cache, "usage")[1].splitlines()


def test_bases_are_learnt_and_pushes_adopted_as_configured(tmp_path: Path, upstream: ThreadedRegistry) -> None:
    upstream.add_image(NAME, BASE, tag="3")
    more = f'[local]\nborrow = "adopt"\nbases = ["{NAME}:3", "library/none:1"]'
    with RunningCache(tmp_path, upstream.url, more=more) as cache:
        cache.wait_for_log("base learnt", base=f"{CANONICAL}:3")
        cache.wait_for_log("base not learnt", base="library/none:1")
        push_thin(cache)
        for layer in LAYERS:
            cache.wait_for_log("adopted", digest=layer.digest, repository=APP)

        assert count_loans(cache) == 0
        assert run(cache, "bases", "list") == (0, f"{CANONICAL}:3\ndocker.io/library/none:1\n")
        assert run(cache, "lend", f"{APP}:1")[0] == 2
        assert upstream.count("GET", blob_path(LAYERS[0].digest)) == 1


def test_pinned_images_are_adopted_at_the_next_start_and_not_lent(
    cache: RunningCache, upstream: ThreadedRegistry
) -> None:
    upstream.add_image(NAME, BASE, tag="3")
    run(cache, "bases", "add", "alpine:3")
    push_thin(cache)
    assert run(cache, "pin", f"{APP}:1") == (0, f"pinned {APP}:1\n")

    refused = run(cache, "lend", f"{APP}:1")
    restart(cache)
    wait_until(lambda: count_loans(cache) == 0, "what is pinned is owned")

    assert (refused[0], "pinned" in refused[1]) == (1, True)
