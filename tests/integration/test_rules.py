"""`allow` and `deny`: what is refused is refused to everybody, in every style, held or not, and nobody is asked."""

import pytest

from proxycache.policy.admission import RuleSettings
from tests.builders import image
from tests.integration.harness import ELSEWHERE

GOOD, EVIL = "library/alpine", "library/evil"
IMAGE = image(seed="shared")
LAYER = next(each for each in IMAGE.blobs())
WHATS = ["manifests/1", f"manifests/{IMAGE.digest}", f"blobs/{LAYER.digest}", "tags/list", f"referrers/{IMAGE.digest}"]


@pytest.fixture(autouse=True)
def images(upstream) -> None:
    for name in (GOOD, EVIL, "org/app"):
        upstream.add_image(name, IMAGE, tag="1")


@pytest.mark.parametrize("what", WHATS)
@pytest.mark.parametrize("path", ["evil/{}", "library/evil/{}", "evil/{}?ns=docker.io", "docker.io/evil/{}"])
async def test_a_denied_repository_is_refused_in_every_style_and_nobody_is_asked(start, upstream, path, what):
    cache = await start(deny=("library/evil*",))
    url = "/v2/" + path.format(what)

    got = [await cache.get(url), await cache.get(url, ELSEWHERE)]

    assert [(each.status, each.code) for each in got] == [(403, "DENIED")] * 2
    assert got[0].message == "docker.io/library/evil: refused by the rules of this cache"
    assert (await cache.head(url)).status == 403
    assert upstream.requests == []


async def test_the_log_names_the_repository_and_the_rule(start, caplog):
    cache = await start(allow=("library/*",), deny=("library/evil*",))

    for name in ("evil", "org/app", "alpine"):
        await cache.get_manifest(name, "1")

    told = [(record.repository, record.rule) for record in caplog.records if record.message == "refused by rule"]
    assert told == [("docker.io/library/evil", 'deny "library/evil*"'), ("docker.io/org/app", "allow")]


async def test_only_what_is_allowed_is_served_and_deny_wins(start):
    cache = await start(allow=("library/**", "docker.io/org/*"), deny=(EVIL,))

    got = [await cache.get_manifest(name, "1") for name in ("alpine", "org/app", "evil", "a/b")]

    assert [each.status for each in got] == [200, 200, 403, 403]


async def test_rules_are_those_of_one_upstream(start, other_upstream):
    other_upstream.add_image(EVIL, IMAGE, tag="1")
    cache = await start(deny=("**",))

    assert (await cache.get_manifest(f"ghcr.io/{EVIL}", "1")).body == IMAGE.body


async def test_a_blob_that_is_held_is_served_through_the_allowed_repository_only(start, upstream):
    cache = await start(deny=(EVIL,))
    await cache.get_blob(GOOD, LAYER.digest)
    await cache.wait_for_fills()

    got = [await cache.get_blob(name, LAYER.digest) for name in (GOOD, EVIL, GOOD)]

    assert [each.status for each in got] == [200, 403, 200]
    assert got[0].body == LAYER.body
    assert all(f"/v2/{EVIL}/" not in seen.path for seen in upstream.requests)


async def test_a_reload_refuses_what_is_held_and_admits_it_again(start):
    cache = await start()
    paths = [f"/v2/{EVIL}/{what}" for what in WHATS]
    for path in paths * 2:
        assert (await cache.get(path)).status == 200

    cache.reload(RuleSettings(deny=(EVIL,)))
    refused = [(await cache.get(path)).status for path in paths]
    cache.reload(RuleSettings())
    admitted = [(await cache.get(path)).status for path in paths]

    assert (refused, admitted) == ([403] * len(paths), [200] * len(paths))


@pytest.mark.parametrize("headers", [{}, ELSEWHERE])
async def test_the_catalog_hides_what_is_refused(start, headers):
    cache = await start()
    for name in (GOOD, EVIL):
        await cache.get_manifest(name, "1")

    before = (await cache.get("/v2/_catalog", headers)).json()["repositories"]
    cache.reload(RuleSettings(deny=(EVIL,)))
    after = (await cache.get("/v2/_catalog", headers)).json()["repositories"]

    assert (before, after) == ([f"docker.io/{GOOD}", f"docker.io/{EVIL}"], [f"docker.io/{GOOD}"])
