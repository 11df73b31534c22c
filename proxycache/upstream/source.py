"""One URL that gives an upstream's content: its own, or a mirror's."""

import ssl
from collections.abc import Container, Mapping
from dataclasses import dataclass, field

import aiohttp
from yarl import URL

from proxycache.clock import Clock
from proxycache.events import Events, RateLimitSeen, UpstreamAnswered
from proxycache.oci.names import RepositoryName
from proxycache.upstream.answers import SUCCESS, check_answer, parse_remaining
from proxycache.upstream.credential_readers import choose_reader
from proxycache.upstream.credentials import Credential, Credentials
from proxycache.upstream.errors import UpstreamError, UpstreamUnauthorized
from proxycache.upstream.login import Login
from proxycache.upstream.settings import Secret, UpstreamSettings
from proxycache.upstream.tokens import Tokens
from proxycache.upstream.transport import Request, TokenTransport, Transport, redact_url


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the sources of one upstream share; `via` is how this cache calls itself to others."""

    settings: UpstreamSettings
    tls: ssl.SSLContext | bool
    via: str
    events: Events
    clock: Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What to ask of a repository: `path` stands behind its name, `kind` is for the events.

    Other statuses than the `accepted` ones become errors. Only what `leaves_host` is followed to another host.
    `may_be_encoded` is for what a digest is held against later: object stores name encodings that are none (S3's
    `aws-chunked`).
    """

    kind: str
    repository: RepositoryName
    path: str
    method: str = "GET"
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    accepted: Container[int] = SUCCESS
    leaves_host: bool = True
    may_be_encoded: bool = False
    is_anonymous: bool = False


class Source:
    """Asks one URL, says who we are where it wants to know, and tells what its refusals mean."""

    def __init__(self, url: URL, surroundings: Surroundings) -> None:
        settings, tls, via = surroundings.settings, surroundings.tls, surroundings.via
        self.name = redact_url(url)
        self.upstream = settings.name
        self.events = surroundings.events
        self._url = url
        self._clock = surroundings.clock
        self._credentials = Credentials(choose_reader(settings, url), clock=self._clock)
        self._transport = Transport(url, settings, tls=tls, via=via)
        self._token_transport = TokenTransport(url, settings, tls=tls, via=via)
        self._tokens = Tokens(settings, self._token_transport, events=self.events, clock=self._clock)
        self._login = Login(settings, self._transport, self._tokens)

    async def ask(self, question: Question) -> aiohttp.ClientResponse:
        """Return an accepted answer once its headers are here; the caller releases it. Raises UpstreamError."""
        response = await self._ask_renewing(question)
        try:
            check_answer(
                self.upstream,
                response,
                now=self._clock.now(),
                accepted=question.accepted,
                may_be_encoded=question.may_be_encoded,
            )
        except UpstreamError:
            response.release()
            raise
        return response

    async def close(self) -> None:
        """Close all connections; what is being asked ends with them."""
        await self._credentials.close()
        await self._tokens.close()
        await self.disconnect()

    async def disconnect(self) -> None:
        """Close all connections; who asks again opens new ones."""
        await self._token_transport.close()
        await self._transport.close()

    async def _ask_renewing(self, question: Question) -> aiohttp.ClientResponse:
        """Ask, and once more if the credential is refused and has changed: a helper's expire, files are rewritten."""
        if question.is_anonymous:
            return await self._ask_as(question, None)
        credential = await self._credentials.get()
        try:
            return await self._ask_as(question, credential)
        except UpstreamUnauthorized:
            renewed = await self._credentials.renew(credential)
            if renewed == credential:
                raise
        return await self._ask_as(question, renewed)

    async def _ask_as(self, question: Question, credential: Credential | None) -> aiohttp.ClientResponse:
        """Return the answer; a refusal by this URL is raised as UpstreamUnauthorized.

        A refusal by a host that it redirected to says nothing of our credential, and a challenge there is not for us.
        """
        authorization = await self._login.prepare(question.repository, credential)
        response = await self._send(question, authorization)
        if response.status == 401 and self._is_own(response):
            response.release()
            authorization = await self._login.retry(question.repository, credential, response, authorization)
            response = await self._send(question, authorization)
        if response.status in (401, 403) and self._is_own(response):
            response.release()
            raise UpstreamUnauthorized(self.upstream, response.status)
        return response

    def _is_own(self, response: aiohttp.ClientResponse) -> bool:
        return response.url.origin() == self._url.origin()

    async def _send(self, question: Question, authorization: Secret) -> aiohttp.ClientResponse:
        request = Request(
            method=question.method,
            url=(self._url / "v2" / question.repository / question.path).with_query(question.query),
            headers=question.headers,
            authorization=authorization,
            leaves_host=question.leaves_host,
        )
        started_at, status = self._clock.monotonic(), 0
        try:
            response = await self._transport.send(request)
            status = response.status
        finally:
            seconds = self._clock.monotonic() - started_at
            self.events.emit(
                UpstreamAnswered(
                    upstream=self.upstream, kind=question.kind, method=question.method, status=status, seconds=seconds
                )
            )
        remaining = parse_remaining(response.headers.get("ratelimit-remaining", ""))
        if remaining is not None:
            self.events.emit(RateLimitSeen(upstream=self.upstream, remaining=remaining))
        return response
