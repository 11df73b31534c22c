"""Nobody learns of, or gets, by HEAD, mounts and pushes what only somebody else may read.

Two worlds are compared: one where ann has secrets, and one where there are none. Whatever mallory or a stranger asks in
between, knowing every digest, they get the same answers in both.
"""

import json
import random
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import pytest

from proxycache.policy.permissions import AccessRule, Action
from proxycache.registry.settings import AuthSettings
from proxycache.upstream.settings import Secret
from tests.builders import OCI_CONFIG, OCI_INDEX, OCI_LAYER, Content, blob, image, index, json_content
from tests.fakes.auth import TokenAuth
from tests.fakes.clock import FakeClock
from tests.fakes.upstream_registry import FakeRegistry
from tests.integration.borrowing import DAY, evict_all
from tests.integration.conftest import StartCache
from tests.integration.harness import Answer, Cache
from tests.integration.pushing import manifest_of, missing_of, push_blob, put_manifest
from tests.integration.test_mounts import sign_in

ANN_S, MALLORY_S, PRIVATE, PUBLIC = "local/ann", "local/mallory", "library/private", "library/public"
WHO: dict[str, dict[str, str]] = {"ann": sign_in("ann"), "mallory": sign_in("mallory"), "stranger": {}}
BOTH = (Action.PULL, Action.PUSH)
RULES = (
    AccessRule(who="anonymous", repositories=(f"docker.io/{PUBLIC}",)),
    AccessRule(who="ann", repositories=(ANN_S, f"docker.io/{PRIVATE}"), actions=BOTH),
    AccessRule(who="mallory", repositories=(MALLORY_S,), actions=BOTH),
)
CONFIG = json_content({}, OCI_CONFIG)
OPEN = image(layers=1, seed="open")
# Of these everybody can have all upstream; ann has pushed the child, too, in the world where she has secrets.
CHILD = image(layers=1, seed="child")
OF_CHILD = (CHILD.manifest, *CHILD.blobs())
PARENT = index([CHILD])
UPSTREAM_S_SECRET = image(layers=1, seed="secret upstream")
OWN_SECRET = blob(3000, seed="ann's own", media_type=OCI_LAYER)
ANN_S_IMAGE = manifest_of(OWN_SECRET, config=CONFIG)
SECRETS = (UPSTREAM_S_SECRET.layers[0], OWN_SECRET, UPSTREAM_S_SECRET.manifest, ANN_S_IMAGE)
BLOBS = (*SECRETS, OPEN.layers[0], CHILD.layers[0])
ON_CHILD = json_content(
    {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [CHILD.manifest.descriptor()],
        "annotations": {"by": "us"},
    },
    OCI_INDEX,
)
LIE = manifest_of(*SECRETS[:2], config=CONFIG)
STEPS = 120


@dataclass(frozen=True, slots=True)
class Step:
    """What somebody asks; `is_secret`: of what there is in one world only."""

    who: str
    what: str
    is_secret: bool
    ask: Callable[[Cache], Awaitable[Answer]]


@pytest.fixture
def auth(tmp_path: Path) -> AuthSettings:
    users = tmp_path / "users"
    hashes = {name: bcrypt.hashpw(name.encode(), bcrypt.gensalt(4)).decode() for name in ("ann", "mallory")}
    users.write_text("".join(f"{name}:{hashed}\n" for name, hashed in hashes.items()))
    return AuthSettings(users_file=str(users), access=RULES)


def steps(seed: int) -> list[Step]:
    """Return what is asked, in which order; the same for the same seed."""
    choice = random.Random(seed)
    return [_step(choice) for _ in range(STEPS)]


def _step(choice: random.Random) -> Step:
    who = choice.choice(["ann", "ann", "mallory", "mallory", "mallory", "stranger"])
    repository = choice.choice([ANN_S, MALLORY_S, PRIVATE, PUBLIC])
    wanted = choice.choice(BLOBS)
    method, path, body = _request(choice, repository, wanted)
    told = path if body is None else body.body.decode()
    is_secret = who == "ann" and (repository == PRIVATE or any(secret.digest in told for secret in SECRETS))
    # What she has of the child is not asked for upstream, so that nothing is learnt of it for everybody.
    is_secret |= who == "ann" and repository == ANN_S and any(part.digest in told for part in OF_CHILD)

    async def ask(cache: Cache) -> Answer:
        if body is not None:
            return await put_manifest(cache, body, path, repository, WHO[who])
        return await cache.send(method, f"/v2/{repository}/{path}", headers=WHO[who])

    return Step(who, f"{who}: {method} {repository} {path}", is_secret, ask)


def _request(choice: random.Random, repository: str, wanted: Content) -> tuple[str, str, Content | None]:
    """Return method, the path behind the repository's name, and a manifest if one is pushed."""
    source = choice.choice(["", *(f"&from={name}" for name in (ANN_S, MALLORY_S, PRIVATE, PUBLIC))])
    layers = choice.sample(BLOBS, choice.randint(1, 2))
    tag = choice.choice(["1", "2", UPSTREAM_S_SECRET.digest, ANN_S_IMAGE.digest])
    match choice.choice(["blob", "blob", "blob", "mount", "mount", "push", "push", "manifest", "list"]):
        case "blob":
            return choice.choice(["HEAD", "GET"]), f"blobs/{wanted.digest}", None
        case "mount":
            return "POST", f"blobs/uploads/?mount={wanted.digest}{source}", None
        case "push" if repository.startswith("local/"):
            return "PUT", choice.choice(["1", "2"]), choice.choice([manifest_of(*layers, config=CONFIG), ON_CHILD])
        case "manifest" | "push":
            return choice.choice(["HEAD", "GET"]), f"manifests/{tag}", None
        case _:
            return "GET", choice.choice(["tags/list", f"referrers/{wanted.digest}"]), None


async def run_world(cache: Cache, sequence: list[Step], *, has_secrets: bool) -> list[tuple[str, object]]:
    """Return what those who may not know them get."""
    for tag in ("1", "2"):
        await cache.get_manifest(PUBLIC, tag)
    for name, repository in (("ann", ANN_S), ("mallory", MALLORY_S)):
        await push_blob(cache, CONFIG, repository, WHO[name])
    if has_secrets:
        await push_blob(cache, OWN_SECRET, ANN_S, WHO["ann"])
        assert (await put_manifest(cache, ANN_S_IMAGE, "1", ANN_S, WHO["ann"])).status == 201
        await _push_child(cache)
        for path in ("manifests/1", f"blobs/{UPSTREAM_S_SECRET.layers[0].digest}"):
            assert (await cache.get(f"/v2/{PRIVATE}/{path}", WHO["ann"])).status == 200
        await cache.wait_for_fills()
    got: list[tuple[str, object]] = []
    for step in sequence:
        if step.is_secret and not has_secrets:
            continue
        answer = await step.ask(cache)
        if step.who != "ann":
            assert all(secret.body not in answer.body for secret in SECRETS), step.what
            got.append((step.what, (answer.status, answer.headers.get("Content-Length"), _told(answer))))
    return got


async def _push_child(cache: Cache) -> None:
    for each in CHILD.blobs():
        await push_blob(cache, each, ANN_S, WHO["ann"])
    assert (await put_manifest(cache, CHILD.manifest, "", ANN_S, WHO["ann"])).status == 201


def _told(answer: Answer) -> object:
    """Return what the body says; that of a refusal is compared as well."""
    try:
        return json.loads(answer.body)
    except ValueError:
        return answer.body


@pytest.mark.parametrize("visibility", ["auto", "private"])
@pytest.mark.parametrize("seed", range(8))
async def test_no_sequence_tells_of_what_only_somebody_else_may_read(
    start: StartCache, upstream: FakeRegistry, auth: AuthSettings, seed: int, visibility: str
) -> None:
    worlds = []
    for has_secrets in (True, False):
        upstream.repositories.clear()
        upstream.auth = TokenAuth(username="hub", password="secret", private={PRIVATE})
        upstream.add_image(PUBLIC, OPEN, tag="1")
        upstream.add_image(PUBLIC, PARENT, tag="2")
        if has_secrets:
            upstream.add_image(PRIVATE, UPSTREAM_S_SECRET, tag="1")
        cache = await start(username="hub", password=Secret("secret"), visibility=visibility, auth=auth)
        worlds.append(await run_world(cache, steps(seed), has_secrets=has_secrets))
        await cache.stop()
        shutil.rmtree(cache.parts.layout.directory)

    assert worlds[0] == worlds[1]


@pytest.mark.parametrize("secret", SECRETS[:2])
async def test_a_manifest_that_lies_gives_nobody_what_is_here_for_others(
    start: StartCache, upstream: FakeRegistry, auth: AuthSettings, clock: FakeClock, secret: Content
) -> None:
    """A public repository names what it does not have: that is not known to be wrong before somebody wants it."""
    upstream.auth = TokenAuth(username="hub", password="secret", private={PRIVATE})
    upstream.add_image(PRIVATE, UPSTREAM_S_SECRET, tag="1")
    upstream.add_manifest(PUBLIC, LIE, tag="1")
    cache = await start(username="hub", password=Secret("secret"), visibility="auto", auth=auth)
    await run_world(cache, [], has_secrets=True)
    assert (await cache.get_manifest(PUBLIC, "1")).status == 200
    blob_path, pushed = f"/v2/{MALLORY_S}/blobs/{secret.digest}", manifest_of(secret, config=CONFIG)

    offered = await cache.head(blob_path, WHO["mallory"])
    first = await put_manifest(cache, pushed, "1", MALLORY_S, WHO["mallory"])
    clock.advance(2 * DAY)
    at_risk = await cache.jobs.auditor.audit()
    got = await cache.get(blob_path, WHO["mallory"])
    again = await cache.head(blob_path, WHO["mallory"])
    second = await put_manifest(cache, pushed, "1", MALLORY_S, WHO["mallory"])

    assert (offered.status, first.status, [each.name for each in at_risk]) == (200, 201, [f"{MALLORY_S}:1"])
    assert (got.status, again.status) == (404, 404)
    assert missing_of(second) == {secret.digest}


async def test_who_may_read_what_borrows_gets_what_is_borrowed(
    start: StartCache, upstream: FakeRegistry, auth: AuthSettings
) -> None:
    """Also where the rules give them nothing of the origin; and who may push there may push it again."""
    rules = (
        AccessRule(who="ann", repositories=(ANN_S, f"docker.io/{PUBLIC}"), actions=BOTH),
        AccessRule(who="mallory", repositories=(ANN_S,), actions=BOTH),
        AccessRule(who="anonymous", repositories=(ANN_S,)),
    )
    upstream.add_image(PUBLIC, OPEN, tag="1")
    cache = await start(auth=AuthSettings(users_file=auth.users_file, access=rules))
    assert (await cache.get_manifest(PUBLIC, "1", WHO["ann"])).status == 200
    pushed, layer = manifest_of(*OPEN.layers, config=CONFIG), OPEN.layers[0]
    path = f"/v2/{ANN_S}/blobs/{layer.digest}"
    await push_blob(cache, CONFIG, ANN_S, WHO["ann"])
    assert (await cache.head(path, WHO["mallory"])).status == 404
    assert missing_of(await put_manifest(cache, pushed, "1", ANN_S, WHO["mallory"])) == {layer.digest}
    assert (await put_manifest(cache, pushed, "1", ANN_S, WHO["ann"])).status == 201

    for headers in WHO.values():
        await evict_all(cache)
        assert (await cache.head(path, headers)).status == 200
        for _ in range(2):  # filled, then held
            assert (await cache.get(path, headers)).body == layer.body
            await cache.wait_for_fills()
    assert (await put_manifest(cache, pushed, "2", ANN_S, WHO["mallory"])).status == 201
    assert (await cache.get(f"/v2/{PUBLIC}/manifests/1", WHO["mallory"])).status == 403
