"""Where clients get tokens: GET as docker's token specification has it, POST as OAuth 2 has it (containerd asks so).

Without a scope it is how `docker login` finds out whether a password is right. No refresh tokens: a client that keeps
a password asks with it again.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import parse_qs

import msgspec
from aiohttp import hdrs, web

from proxycache.oci.errors import NameUnknown, Unauthorized
from proxycache.registry.access import Action
from proxycache.registry.authority import Credential, IssuedToken, Secret
from proxycache.registry.permits import Scope
from proxycache.web.authorization import parse_basic
from proxycache.web.exchange import Exchange
from proxycache.web.request_body import read_body

_MOST_SCOPES = 16
_LONGEST_NAME = 300
_LONGEST_FORM = 16 * 1024
_CATALOG = "registry:catalog:*"


async def get_token(exchange: Exchange) -> web.StreamResponse:
    """Answer with a token for whom the Authorization header names, or for nobody in particular."""
    _require_rules(exchange)
    credential = None
    header = exchange.request.headers.get(hdrs.AUTHORIZATION)
    if header is not None:
        credential = parse_basic(exchange, header)
        if credential is None:
            raise Unauthorized("the Authorization header is not one with a user and a password")
    return await _answer(exchange, credential, exchange.request.query.getall("scope", []))


async def post_token(exchange: Exchange) -> web.StreamResponse:
    """Answer with a token for the user and the password in the form."""
    _require_rules(exchange)
    form = await _read_form(exchange.request)
    if _first(form, "grant_type") != "password":
        raise Unauthorized("only grant_type=password is known here")
    credential = Credential(
        user=_first(form, "username"),
        password=Secret(_first(form, "password")),
        address=exchange.origin.address,
    )
    return await _answer(exchange, credential, form.get("scope", []))


def parse_scopes(values: Iterable[str]) -> list[Scope]:
    """Return the repositories that are asked for; what is no scope, or too much of it, is left out."""
    wanted: dict[str, frozenset[Action]] = {}
    for text in " ".join(values).split(" "):
        kind, _, rest = text.partition(":")
        name, _, actions = rest.rpartition(":")
        if kind != "repository" or not name or len(name) > _LONGEST_NAME:
            continue
        if name in wanted or len(wanted) < _MOST_SCOPES:
            wanted[name] = wanted.get(name, frozenset()) | _parse_actions(actions)
    return [Scope(name=name, actions=actions) for name, actions in wanted.items() if actions]


def _parse_actions(text: str) -> frozenset[Action]:
    words = text.split(",")
    return frozenset(action for action in Action if action.value in words or "*" in words)


async def _answer(exchange: Exchange, credential: Credential | None, scopes: Sequence[str]) -> web.StreamResponse:
    may_list = _CATALOG in " ".join(scopes).split(" ")
    token = await exchange.services.authority.issue(credential, parse_scopes(scopes), may_list=may_list)
    return web.Response(
        body=msgspec.json.encode(_document(token)),
        content_type="application/json",
        headers={hdrs.CACHE_CONTROL: "no-store"},
    )


def _document(token: IssuedToken) -> dict[str, object]:
    return {
        "token": token.text,
        "access_token": token.text,
        "expires_in": token.lifetime_seconds,
        "issued_at": datetime.fromtimestamp(token.issued_at, UTC).isoformat(timespec="seconds"),
    }


def _require_rules(exchange: Exchange) -> None:
    if not exchange.services.authority.is_configured:
        raise NameUnknown("/-/token", "no such page: this cache has no users and no rules")


async def _read_form(request: web.BaseRequest) -> Mapping[str, list[str]]:
    body = await read_body(request, most_bytes=_LONGEST_FORM)
    if body is None:
        raise Unauthorized("the form is too long")
    try:
        return parse_qs(body.decode(), max_num_fields=100)
    except ValueError as error:
        raise Unauthorized("the form cannot be understood") from error


def _first(form: Mapping[str, list[str]], key: str) -> str:
    return form.get(key, [""])[0]
