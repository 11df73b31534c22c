"""A blob that is here is mounted where its pusher may read it; else he gets a session, and uploads it."""

import base64

import bcrypt
import pytest

from proxycache.policy.permissions import AccessRule, Action
from proxycache.registry.settings import AuthSettings
from proxycache.upstream.settings import Secret
from tests.builders import OCI_LAYER, blob, json_content
from tests.fakes.auth import TokenAuth
from tests.integration.harness import Answer, Cache
from tests.integration.pushing import APP, OTHER, manifest_of, missing_of, push_blob, put_manifest

LAYER = blob(5000)
HUB = "library/base"


async def mount(cache: Cache, query: str) -> Answer:
    return await cache.send("POST", f"/v2/{APP}/blobs/uploads/?{query}")


async def hold(cache: Cache, upstream, name: str = HUB) -> None:
    upstream.add_blob(name, LAYER)
    assert (await cache.get_blob(name, LAYER.digest)).status == 200
    await cache.wait_for_fills()


@pytest.mark.parametrize("source", [f"&from={OTHER}", "", f"&from={APP}"])
async def test_a_blob_of_another_repository_is_mounted(workers, source):
    await push_blob(workers[0], LAYER, OTHER)
    if APP in source:
        await push_blob(workers[0], LAYER, APP)

    answer = await mount(workers[1], f"mount={LAYER.digest}{source}")

    assert (answer.status, answer.headers["Location"]) == (201, f"/v2/{APP}/blobs/{LAYER.digest}")
    assert answer.headers["Docker-Content-Digest"] == LAYER.digest
    assert (await workers[0].get_blob(APP, LAYER.digest)).body == LAYER.body


@pytest.mark.parametrize("source", [f"&from=docker.io/{HUB}", f"&from={HUB}", ""])
async def test_what_is_cached_is_mounted_by_its_upstream_s_name(start, upstream, source):
    cache = await start(borrow="off")
    await hold(cache, upstream)
    upstream.requests.clear()

    assert (await mount(cache, f"mount={LAYER.digest}{source}")).status == 201

    assert (await cache.get_blob(APP, LAYER.digest)).body == LAYER.body
    assert await cache.parts.tables.usage.cached_bytes() == 0
    assert upstream.requests == []


@pytest.mark.parametrize(
    "query",
    [
        f"mount={LAYER.digest}&from=local/third",
        f"mount={LAYER.digest}&from=library/other",
        f"mount={LAYER.digest}&from=quay.io/org/app",
        f"mount={LAYER.digest}&from=UPPER/../case",
        f"mount={LAYER.digest}&from=",
        f"mount={blob(10).digest}",
        f"mount={blob(10).digest}&from={OTHER}",
        "mount=sha256:abc",
        "mount=",
        f"mount=md5:{'0' * 32}",
    ],
)
async def test_who_cannot_mount_uploads_in_the_session_that_he_got(cache, query):
    await push_blob(cache, LAYER, OTHER)

    answer = await mount(cache, query)

    assert answer.status == 202
    finished = await cache.send("PUT", f"{answer.headers['Location']}?digest={LAYER.digest}", LAYER.body)
    assert finished.status == 201
    assert (await cache.get_blob(APP, LAYER.digest)).body == LAYER.body


async def test_whose_file_is_gone_is_not_mounted(cache):
    await push_blob(cache, LAYER, OTHER)
    for path in cache.parts.layout.blobs.rglob(LAYER.digest.partition(":")[2]):
        path.unlink()

    assert (await mount(cache, f"mount={LAYER.digest}&from={OTHER}")).status == 202
    assert (await cache.get_blob(APP, LAYER.digest)).status == 404


PRIVATE = "library/private"
EMPTY = json_content({}, OCI_LAYER)
HUB_S_OWN = {"username": "hub", "password": Secret("hub's secret")}
RULES = (
    AccessRule(who="ann", repositories=("local/**", f"docker.io/{PRIVATE}"), actions=(Action.PULL, Action.PUSH)),
    AccessRule(who="mallory", repositories=(APP,), actions=(Action.PULL, Action.PUSH)),
)


def sign_in(user: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{user}'.encode()).decode()}"}


ANN, MALLORY = sign_in("ann"), sign_in("mallory")


@pytest.fixture
async def guarded(start, upstream, tmp_path) -> Cache:
    """A cache that holds LAYER as what only its own credential can read upstream; ann may, mallory may not."""
    upstream.auth = TokenAuth(username="hub", password="hub's secret", private={PRIVATE})
    users = tmp_path / "users"
    hashes = {name: bcrypt.hashpw(name.encode(), bcrypt.gensalt(4)).decode() for name in ("ann", "mallory")}
    users.write_text("".join(f"{name}:{hashed}\n" for name, hashed in hashes.items()))
    upstream.add_blob(PRIVATE, LAYER)
    cache = await start(**HUB_S_OWN, visibility="private", auth=AuthSettings(users_file=str(users), access=RULES))
    await push_blob(cache, EMPTY, headers=MALLORY)
    return cache


async def hold_private(cache: Cache) -> None:
    assert (await cache.get_blob(PRIVATE, LAYER.digest, ANN)).body == LAYER.body
    await cache.wait_for_fills()


async def hold_local(cache: Cache) -> None:
    await push_blob(cache, LAYER, "local/secret", headers=ANN)


@pytest.mark.parametrize("hold_it", [hold_private, hold_local])
async def test_naming_what_one_may_not_read_gives_nobody_its_content(guarded, hold_it):
    await hold_it(guarded)
    for source in (f"&from={PRIVATE}", "&from=local/secret", ""):
        path = f"/v2/{APP}/blobs/uploads/?mount={LAYER.digest}{source}"
        answer = await guarded.send("POST", path, b"", MALLORY)
        assert answer.status == 202

    refused = await put_manifest(guarded, manifest_of(LAYER), "1", headers=MALLORY)

    assert missing_of(refused) == {LAYER.digest}
    assert (await guarded.get_blob(APP, LAYER.digest, MALLORY)).status == 404


@pytest.fixture
async def ruled(start, upstream, tmp_path) -> Cache:
    """A cache that holds LAYER as what everybody can read upstream, and only ann may pull here."""
    users = tmp_path / "users"
    hashes = {name: bcrypt.hashpw(name.encode(), bcrypt.gensalt(4)).decode() for name in ("ann", "mallory")}
    users.write_text("".join(f"{name}:{hashed}\n" for name, hashed in hashes.items()))
    rules = (*RULES, AccessRule(who="anonymous", repositories=("docker.io/library/open",)))
    cache = await start(auth=AuthSettings(users_file=str(users), access=rules))
    upstream.add_blob(PRIVATE, LAYER)
    upstream.repository("library/open")
    await hold_private(cache)
    await push_blob(cache, EMPTY, headers=MALLORY)
    return cache


@pytest.mark.parametrize("headers", [MALLORY, {}], ids=["mallory", "anonymous"])
async def test_what_the_rules_forbid_is_not_had_by_its_digest_elsewhere(ruled, headers):
    path = f"/v2/{APP}/blobs/uploads/?mount={LAYER.digest}"
    mounted = await ruled.send("POST", path, b"", headers)
    pushed = await put_manifest(ruled, manifest_of(LAYER), "1", headers=headers)
    pulled = [
        await ruled.ask(method, f"/v2/library/open/{kind}/{LAYER.digest}", headers)
        for method in ("HEAD", "GET")
        for kind in ("blobs", "manifests")
    ]

    assert (mounted.status, pushed.status) == ((202, 404) if headers else (401, 401))
    assert [each.status for each in pulled] == [404] * 4


async def test_what_another_repository_has_too_is_asked_for_once(ruled, upstream):
    upstream.add_blob("library/open", LAYER)
    upstream.requests.clear()

    got = [await ruled.get_blob("library/open", LAYER.digest, MALLORY) for _ in range(3)]
    path = f"/v2/{APP}/blobs/uploads/?mount={LAYER.digest}"
    mounted = await ruled.send("POST", path, b"", MALLORY)

    assert [each.body for each in got] == [LAYER.body] * 3
    assert (upstream.count("HEAD", "/blobs/"), upstream.count("GET", "/blobs/")) == (1, 0)
    assert mounted.status == 201


@pytest.mark.parametrize("hold_it", [hold_private, hold_local])
async def test_who_may_read_it_takes_it_in(guarded, hold_it):
    await hold_it(guarded)

    assert (await put_manifest(guarded, manifest_of(LAYER), "1", headers=ANN)).status == 201

    assert (await guarded.get_blob(APP, LAYER.digest, MALLORY)).body == LAYER.body
