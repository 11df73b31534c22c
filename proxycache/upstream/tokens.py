"""Bearer tokens (distribution-spec, "Token Authentication"): one request per token, whoever waits for it.

A token is known by everything that it was asked for with: realm, service, scope and credential. The realm is a URL
that an upstream wrote; where it may lead is judged here and in `addresses`.
"""

import asyncio
import contextlib
from dataclasses import dataclass

import msgspec
from multidict import MultiDict
from yarl import URL

from proxycache.clock import Clock
from proxycache.events import Events, TokenRequested
from proxycache.tasks import SingleFlight
from proxycache.upstream.answers import check_busy
from proxycache.upstream.bodies import decode_json, read_body
from proxycache.upstream.credentials import Credential
from proxycache.upstream.errors import UpstreamMisbehaved, UpstreamUnauthorized, UpstreamUnreachable
from proxycache.upstream.settings import NO_SECRET, Secret, UpstreamSettings
from proxycache.upstream.transport import Request, TokenTransport

DEFAULT_SECONDS = 60.0
LONGEST_SECONDS = 3600.0
EARLY_SECONDS = 10.0
MAX_ANSWER_BYTES = 64 * 1024
MAX_TOKENS = 1000
CLIENT_ID = "proxycache"


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedToken:
    """What a token is asked for with, and known by."""

    realm: str
    service: str
    scope: str
    credential: Credential | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldToken:
    """A token, and until when it is used."""

    authorization: Secret
    good_until: float


class TokenAnswer(msgspec.Struct, kw_only=True):
    """What a realm answers."""

    token: str = ""
    access_token: str = ""
    expires_in: float | None = None


class Tokens:
    """The tokens for one URL of an upstream."""

    def __init__(self, settings: UpstreamSettings, transport: TokenTransport, *, events: Events, clock: Clock) -> None:
        self._settings = settings
        self._upstream = settings.name
        self._transport = transport
        self._events = events
        self._clock = clock
        self._held: dict[WantedToken, HeldToken] = {}
        self._asking: SingleFlight[WantedToken, Secret] = SingleFlight()

    async def get(self, wanted: WantedToken) -> Secret:
        """Return the Authorization header's value; asks for a token unless a good one is held. Raises UpstreamError."""
        held = self._held.get(wanted)
        if held is not None and self._clock.monotonic() < held.good_until:
            return held.authorization
        return await asyncio.shield(self._asking.start_or_join(wanted, lambda: self._ask(wanted)))

    def drop(self, refused: Secret) -> None:
        """Forget the token that an upstream did not take."""
        self._held = {wanted: held for wanted, held in self._held.items() if held.authorization != refused}

    async def close(self) -> None:
        """Stop asking."""
        await self._asking.close()
        await self._transport.close()

    async def _ask(self, wanted: WantedToken) -> Secret:
        asked_at = self._clock.monotonic()
        outcome = "failed"
        try:
            async with asyncio.timeout(self._settings.answer_within):
                answer = await self._fetch(wanted)
            outcome = "granted"
        except TimeoutError:
            raise UpstreamUnreachable(self._upstream, "no token in time", timed_out=True) from None
        except UpstreamUnauthorized:
            outcome = "refused"
            raise
        finally:
            self._events.emit(TokenRequested(upstream=self._upstream, outcome=outcome))
        authorization = Secret(f"Bearer {answer.token or answer.access_token}")
        self._hold(wanted, authorization, asked_at + lifetime_seconds(answer.expires_in))
        return authorization

    def _hold(self, wanted: WantedToken, authorization: Secret, good_until: float) -> None:
        self._held.pop(wanted, None)
        while len(self._held) >= MAX_TOKENS:
            del self._held[next(iter(self._held))]
        self._held[wanted] = HeldToken(authorization=authorization, good_until=good_until)

    async def _fetch(self, wanted: WantedToken) -> TokenAnswer:
        realm = self._parse_realm(wanted.realm)
        credential = wanted.credential
        if credential is not None and credential.identity_token:
            # Many realms know no POST, and say so with 400, 401, 404 or 405.
            with contextlib.suppress(UpstreamUnauthorized, UpstreamMisbehaved):
                return await self._send(format_post(realm, wanted, credential.identity_token))
        return await self._send(format_get(realm, wanted))

    async def _send(self, request: Request) -> TokenAnswer:
        response = await self._transport.send(request)
        async with response:
            if response.status in (400, 401, 403):
                raise UpstreamUnauthorized(self._upstream, 403 if response.status == 403 else 401, "no token is given")
            check_busy(self._upstream, response, now=self._clock.now())
            if response.status != 200:
                raise UpstreamMisbehaved(self._upstream, f"status {response.status} where a token was asked for")
            body = await read_body(self._upstream, response, max_size=MAX_ANSWER_BYTES)
        answer = decode_json(self._upstream, body, TokenAnswer)
        text = answer.token or answer.access_token
        if not (text.isascii() and text.isprintable() and text.strip()):
            raise UpstreamMisbehaved(self._upstream, "an answer without a token where one was asked for")
        return answer

    def _parse_realm(self, text: str) -> URL:
        """Return the realm's URL; raises UpstreamMisbehaved for what no credential may be sent to.

        Whether its host may be contacted, the transport decides.
        """
        try:
            realm = URL(text).with_user(None).with_fragment(None)
        except ValueError:
            realm = URL()
        if realm.scheme not in ("http", "https") or not realm.host:
            raise UpstreamMisbehaved(self._upstream, "its token realm is no http or https URL")
        is_plain_allowed = self._settings.insecure or self._transport.url.scheme == "http"
        if realm.scheme == "http" and not is_plain_allowed:
            raise UpstreamMisbehaved(self._upstream, f"its token realm {realm.host} is without TLS")
        return realm


def lifetime_seconds(expires_in: float | None) -> float:
    """Return for how long to use a token: less than it lives, so that none expires on its way."""
    seconds = min(expires_in, LONGEST_SECONDS) if expires_in is not None and expires_in > 0 else DEFAULT_SECONDS
    return seconds - min(EARLY_SECONDS, seconds / 10)


def format_get(realm: URL, wanted: WantedToken) -> Request:
    """Return the usual request for a token."""
    query = MultiDict([("scope", scope) for scope in wanted.scope.split()])
    if wanted.service:
        query.add("service", wanted.service)
    credential = wanted.credential
    authorization = NO_SECRET if credential is None else credential.basic()
    return Request(method="GET", url=realm.extend_query(query), headers={}, authorization=authorization)


def format_post(realm: URL, wanted: WantedToken, identity_token: Secret) -> Request:
    """Return the request that turns an identity token into a token (OAuth 2, RFC 6749, section 6)."""
    form = {
        "grant_type": "refresh_token",
        "client_id": CLIENT_ID,
        "service": wanted.service,
        "scope": wanted.scope,
        "refresh_token": identity_token.reveal(),
    }
    return Request(method="POST", url=realm, headers={}, form=form)
