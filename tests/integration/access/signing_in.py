"""Users, what they may do, and a client that says who it is: by password, by token, by form."""

import base64
from collections.abc import Mapping
from pathlib import Path

import bcrypt

from proxycache.oci.challenge import parse_challenges
from proxycache.policy.permissions import AccessRule, Action
from proxycache.upstream.settings import Secret
from tests.builders import content, image
from tests.integration.harness import Answer, Cache

PASSWORDS = {"ann": "ann's own", "bob": "b:o:b", "cat": "Katze ÄÖÜ"}
PUBLIC, INNER, PRIVATE = "library/public", "library/inner", "library/private"
OPEN, SECRET = image(seed="open"), image(seed="secret")
HUB = {"username": "hub", "password": Secret("hub's secret")}
EVERYTHING = (Action.PULL, Action.PUSH, Action.DELETE)
WANTED = content(b"content")
RULES = (
    AccessRule(who="anonymous", repositories=(f"docker.io/{PUBLIC}", f"docker.io/{PRIVATE}", "local/open/*")),
    AccessRule(who="*", repositories=("docker.io/library/inner",)),
    AccessRule(who="ann", repositories=("local/**", f"docker.io/{PRIVATE}"), actions=EVERYTHING),
    AccessRule(who="bob", repositories=("local/shared",)),
)


def write_users(path: Path, passwords: Mapping[str, str]) -> None:
    hashes = {name: bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)) for name, password in passwords.items()}
    path.write_text("".join(f"{name}:{hashed.decode()}\n" for name, hashed in hashes.items()))


def basic(user: str, password: str | None = None) -> dict[str, str]:
    text = f"{user}:{PASSWORDS[user] if password is None else password}"
    return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


async def ask_token(cache: Cache, *scopes: str, user: str = "", password: str | None = None, **more: str) -> Answer:
    query = "&".join([f"scope={scope}" for scope in scopes] + [f"{key}={value}" for key, value in more.items()])
    return await cache.get(f"/-/token?service=x&{query}", basic(user, password) if user else None)


async def token(cache: Cache, *scopes: str, user: str = "") -> dict[str, str]:
    got = await ask_token(cache, *scopes, user=user)
    assert got.status == 200
    return {"Authorization": f"Bearer {got.json()['token']}"}


def challenge(answer: Answer) -> Mapping[str, str]:
    [found] = parse_challenges(answer.headers.getall("WWW-Authenticate"))
    assert found.scheme == "bearer"
    return found.parameters


def pull(name: str) -> tuple[str, str]:
    return "GET", f"/v2/{name}/manifests/1"


def push(name: str) -> tuple[str, str]:
    return "POST", f"/v2/{name}/blobs/uploads/"


def delete(name: str) -> tuple[str, str]:
    return "DELETE", f"/v2/{name}/manifests/1"


async def post_form(cache: Cache, body: bytes) -> Answer:
    url, headers = f"{cache.url}/-/token", {"Content-Type": "application/x-www-form-urlencoded"}
    async with cache._session.post(url, data=body, headers=headers) as response:
        return Answer(status=response.status, headers=response.headers, body=await response.read(), is_complete=True)


# What anybody, ann, bob and cat get; 404 is for who may look.
TABLE = {
    pull(PUBLIC): (200, 200, 200, 200),
    pull(INNER): (401, 200, 200, 200),
    pull(PRIVATE): (401, 200, 404, 404),
    pull("library/missing"): (403, 403, 403, 403),
    pull("ghcr.io/org/app"): (403, 403, 403, 403),
    pull("local/app"): (401, 404, 403, 403),
    pull("local/shared"): (401, 404, 404, 403),
    pull("local/open/app"): (404, 404, 404, 404),
    push("local/app"): (401, 202, 403, 403),
    push("local/open/app"): (401, 202, 403, 403),
    push("local/shared"): (401, 202, 403, 403),
    push("library/inner"): (405, 405, 405, 405),
    delete("local/app"): (401, 404, 403, 403),
    delete("local/shared"): (401, 404, 403, 403),
    ("GET", "/v2/"): (401, 200, 200, 200),
    ("GET", "/v2/_catalog"): (401, 200, 200, 200),
    ("GET", f"/v2/{INNER}/tags/list"): (401, 200, 200, 200),
    ("GET", f"/v2/local/app/referrers/{OPEN.digest}"): (401, 200, 403, 403),
    ("GET", "/-/health"): (200, 200, 200, 200),
    ("GET", "/-/ready"): (200, 200, 200, 200),
}
