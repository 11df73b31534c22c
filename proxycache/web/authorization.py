"""Who asks, by the request's Authorization header, and what somebody is told who has to sign in first."""

import base64
import binascii
import logging
from dataclasses import replace
from urllib.parse import urlsplit

from aiohttp import hdrs, web

from proxycache.oci.challenge import Challenge, format_challenge
from proxycache.oci.errors import RegistryError, SignInNeeded, Unauthorized
from proxycache.registry.access import Caller
from proxycache.registry.authority import Authority, Credential, Secret
from proxycache.registry.tokens import TokenInvalid
from proxycache.web.exchange import Exchange
from proxycache.web.request_parts import Kind

logger = logging.getLogger(__name__)

_CATALOG_SCOPE = "registry:catalog:*"
_ACTIONS = {hdrs.METH_GET: "pull", hdrs.METH_HEAD: "pull", hdrs.METH_DELETE: "delete"}


async def identify(exchange: Exchange) -> None:
    """Let the exchange know who asks; raises SignInNeeded where it has to be said first, or said rightly.

    A wrong credential is refused for public content as well, so that nobody goes on with one unknowingly. (Only what
    is answered from the memory of answers is given without a look at it: anybody may have that.)
    """
    authority = exchange.services.authority
    if not authority.is_configured:
        return
    caller = replace(exchange.caller, written=exchange.endpoint.name)
    header = exchange.request.headers.get(hdrs.AUTHORIZATION)
    if header is not None:
        caller = await _read(exchange, authority, caller, header)
    elif authority.has_users and exchange.endpoint.kind in (Kind.BASE, Kind.CATALOG):
        raise SignInNeeded(scope=_scope_of(exchange))  # docker learns here, and only here, how to sign in
    if exchange.endpoint.kind is Kind.CATALOG and caller.token is not None and not caller.token.may_list:
        raise SignInNeeded(scope=_CATALOG_SCOPE, problem="insufficient_scope")
    exchange.caller = caller


async def _read(exchange: Exchange, authority: Authority, caller: Caller, header: str) -> Caller:
    scheme, _, text = header.partition(" ")
    scope = _scope_of(exchange)
    if scheme.lower() == "bearer":
        try:
            token = await authority.read(text.strip())
        except TokenInvalid as error:
            facts = {"user": error.user or "(unknown)", "remote": exchange.origin.address, "why": str(error)}
            logger.warning("token refused", extra=facts)
            raise SignInNeeded(f"token refused: {error}", scope=scope, problem="invalid_token") from error
        return replace(caller, user=token.user, token=token)
    credential = parse_basic(exchange, header)
    if credential is None:
        raise SignInNeeded("the Authorization header cannot be understood", scope=scope)
    try:
        return replace(caller, user=await authority.sign_in(credential))
    except Unauthorized as error:
        raise SignInNeeded(error.message, scope=scope) from error


def parse_basic(exchange: Exchange, header: str) -> Credential | None:
    """Return what a header with a user and a password says (RFC 7617); None for any other."""
    scheme, _, text = header.partition(" ")
    try:
        user, colon, password = base64.b64decode(text.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    if scheme.lower() != "basic" or not colon:
        return None
    return Credential(user=user, password=Secret(password), address=exchange.origin.address)


def challenged(response: web.Response, error: RegistryError, exchange: Exchange) -> web.Response:
    """Add to the answer how to sign in, where that may help; a refused token request wants a password (RFC 9110)."""
    if isinstance(error, SignInNeeded):
        base = exchange.services.proxies.base_url(exchange.request)
        parameters = {
            "realm": f"{base}/-/token",
            "service": urlsplit(base).netloc,
            "scope": error.scope,
            "error": error.problem,
        }
        given = {key: value for key, value in parameters.items() if value}
        response.headers[hdrs.WWW_AUTHENTICATE] = format_challenge(Challenge(scheme="bearer", parameters=given))
    elif error.status == 401 and exchange.endpoint.kind is Kind.SIGN_IN:
        basic = Challenge(scheme="basic", parameters={"realm": "proxycache"})
        response.headers[hdrs.WWW_AUTHENTICATE] = format_challenge(basic)
    return response


def _scope_of(exchange: Exchange) -> str:
    if exchange.endpoint.kind is Kind.CATALOG:
        return _CATALOG_SCOPE
    method = hdrs.METH_POST if exchange.endpoint.kind is Kind.UPLOAD else exchange.request.method
    actions = _ACTIONS.get(method, "pull,push")
    return f"repository:{exchange.endpoint.name}:{actions}" if exchange.endpoint.name else ""
