"""Passwords and failures: who is heard, for how long who is not, and what is told of it."""

import base64
import logging

import pytest

from proxycache.observe.logs import TextFormatter
from tests.integration.access.signing_in import (
    HUB,
    INNER,
    PASSWORDS,
    PUBLIC,
    ask_token,
    basic,
    challenge,
    post_form,
    push,
    token,
    write_users,
)
from tests.integration.harness import ELSEWHERE, Answer, Cache


def written(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(TextFormatter().format(record) for record in caplog.records)


async def test_who_says_nothing_is_told_how_to_sign_in(cache):
    base, named = await cache.get("/v2/"), await cache.get(f"/v2/{INNER}/manifests/1")
    pushed = await cache.ask(*push("local/app"))

    service = cache.url.removeprefix("http://")
    assert challenge(base) == {"realm": f"{cache.url}/-/token", "service": service}
    assert challenge(named) == {**challenge(base), "scope": f"repository:{INNER}:pull"}
    assert challenge(pushed)["scope"] == "repository:local/app:pull,push"
    assert named.code == "UNAUTHORIZED"


async def test_a_password_that_was_changed_counts_no_more_at_once(cache, users_file):
    assert (await cache.get("/v2/", basic("ann"))).status == 200
    write_users(users_file, {**PASSWORDS, "ann": "new"})

    assert [(await cache.get("/v2/", basic("ann", word))).status for word in ("ann's own", "new")] == [401, 200]


async def test_a_file_of_users_that_breaks_counts_as_it_was(cache, users_file, caplog):
    assert (await cache.get("/v2/", basic("ann"))).status == 200
    users_file.write_text("ann:plain-text-secret\n")

    got = [await cache.get("/v2/", basic("ann")) for _ in range(2)]

    assert [each.status for each in got] == [200, 200]
    assert [record.message for record in caplog.records] == ["users refused"]
    assert "plain-text-secret" not in written(caplog)


async def test_users_that_could_never_be_read_are_no_refusal(cache, users_file):
    users_file.unlink()

    assert (await cache.get("/v2/", basic("ann"))).status == 503
    assert (await cache.get(f"/v2/{PUBLIC}/manifests/1")).status == 200


async def test_a_login_is_right_or_wrong(cache):
    right = await ask_token(cache, user="ann", account="ann", client_id="docker", offline_token="true")
    wrong = [await ask_token(cache, user=user, password="no") for user in ("ann", "nobody")]

    assert (right.status, [each.status for each in wrong]) == (200, [401, 401])
    headers = {"Authorization": f"Bearer {right.json()['token']}"}
    assert (await cache.get("/v2/", headers)).status == 200


@pytest.mark.parametrize("who", ["basic", "token", "form"])
async def test_who_fails_too_often_is_not_heard_for_a_while_by_any_worker(workers, clock, who):
    first, second = workers

    async def attempt(cache: Cache, password: str) -> Answer:
        if who == "form":
            return await post_form(cache, f"grant_type=password&username=ann&password={password}".encode())
        if who == "token":
            return await ask_token(cache, user="ann", password=password)
        return await cache.get("/v2/", basic("ann", password))

    assert (await second.get("/v2/", basic("ann"))).status == 200
    wrong = [await attempt((first, second)[number % 2], f"wrong{number}") for number in range(10)]
    blocked = [await attempt(each, PASSWORDS["ann"]) for each in workers]
    others = await first.get("/v2/", basic("bob"))
    clock.advance(60)
    later = await attempt(second, PASSWORDS["ann"])

    assert [each.status for each in wrong] == [401] * 10
    assert [(each.status, each.headers["Retry-After"]) for each in blocked] == [(429, "60")] * 2
    assert (others.status, later.status) == (200, 200)


async def test_the_count_survives_a_restart(workers, start, auth):
    for number in range(10):
        await workers[0].get("/v2/", basic("ann", f"wrong{number}"))
    await workers[0].stop()

    assert (await (await start(**HUB, auth=auth)).get("/v2/", basic("ann"))).status == 429


async def test_failures_count_for_one_address_only(start, auth):
    cache = await start(**HUB, auth=auth, trusted_proxies=("127.0.0.1",))
    for number in range(10):
        await cache.get("/v2/", basic("ann", f"wrong{number}") | ELSEWHERE)

    got = [await cache.get("/v2/", basic("ann") | {"X-Forwarded-For": each}) for each in ("192.0.2.7", "192.0.2.8")]

    assert [each.status for each in got] == [429, 200]


async def test_right_passwords_write_nothing(cache):
    await cache.get("/v2/", basic("ann", "wrong"))
    failures = cache.parts.layout.failures
    before = failures.read_bytes()

    for _ in range(3):
        assert (await cache.get("/v2/", basic("ann"))).status == 200

    assert failures.read_bytes() == before


@pytest.mark.parametrize(
    "header",
    [
        "", "Basic", "Basic ", "Basic %%%", "Basic YW5u", "Basic OnB3", "Basic //86/g==", "Basic YQBiOmMA",
        "bearer a b", "Bearer", "Bearer ", "Bearer x", "Bearer a.b.c", "Bearer " + "x" * 7000, "Negotiate YII=",
        "Basic " + base64.b64encode(b"ann:" + b"x" * 5000).decode(),
    ],
)  # fmt: skip
async def test_a_header_that_makes_no_sense_is_refused(cache, header):
    got = [await cache.get(path, {"Authorization": header}) for path in ("/v2/", f"/v2/{PUBLIC}/manifests/1")]

    assert [each.status for each in got] == [401, 401]
    assert challenge(got[1])["scope"] == f"repository:{PUBLIC}:pull"


async def test_without_users_and_rules_there_are_no_tokens(start):
    cache = await start()

    assert (await cache.get("/-/token", basic("ann"))).status == 404
    assert (await cache.get("/v2/", {"Authorization": "Bearer x"})).status == 200


async def test_no_secret_gets_into_a_log(cache, caplog):
    caplog.set_level(logging.DEBUG)
    mine = await token(cache, "repository:local/app:pull", user="ann")
    await cache.ask(*push("local/app"), basic("bob"))
    await cache.get("/v2/", basic("ann", "hunter2"))
    await cache.get("/v2/", basic("my-password", "x"))
    await cache.get("/v2/", {"Authorization": mine["Authorization"] + "x"})
    await post_form(cache, b"grant_type=password&username=ann&password=hunter2")

    await ask_token(cache, "repository:local/app:pull", user="my-password", password="hunter2")

    told = written(caplog)
    assert told.count("sign-in failed") == 4
    assert "no such user" in told
    assert "token refused" in told
    for secret in (*PASSWORDS.values(), "hunter2", "my-password", mine["Authorization"].split(".")[2], "$2b$"):
        assert secret not in told
