"""The Authorization header for each repository of one URL.

The challenge of a repository is remembered, so that later requests bring what it asks for unasked.
"""

from collections.abc import Sequence

import aiohttp

from proxycache.oci.challenge import Challenge, parse_challenges
from proxycache.oci.names import RepositoryName
from proxycache.upstream.credentials import Credential
from proxycache.upstream.errors import UpstreamUnauthorized
from proxycache.upstream.settings import NO_SECRET, Secret, UpstreamSettings
from proxycache.upstream.tokens import Tokens, WantedToken
from proxycache.upstream.transport import Request, Transport

MAX_REPOSITORIES = 1000


class Login:
    """Answers the challenges of one URL of an upstream."""

    def __init__(self, settings: UpstreamSettings, transport: Transport, tokens: Tokens) -> None:
        self._upstream = settings.name
        self._transport = transport
        self._tokens = tokens
        self._challenges: dict[RepositoryName, list[Challenge]] = {}

    async def prepare(self, repository: RepositoryName, credential: Credential | None) -> Secret:
        """Return what to send at once: nothing where no challenge is known. Raises UpstreamError."""
        challenges = self._challenges.get(repository)
        return NO_SECRET if challenges is None else await self._answer(challenges, credential)

    async def retry(
        self, repository: RepositoryName, credential: Credential | None, refusal: aiohttp.ClientResponse, sent: Secret
    ) -> Secret:
        """Return what to send after `refusal` (401) of what was `sent`.

        Raises UpstreamUnauthorized where there is nothing else to say.
        """
        self._tokens.drop(sent)
        challenges = parse_challenges(refusal.headers.getall("WWW-Authenticate", ()))
        standard = f"repository:{repository}:pull"
        if challenges:
            challenges = [
                with_scope(challenge, challenge.parameters.get("scope") or standard) for challenge in challenges
            ]
        else:  # gcr.io challenges at /v2/ only; the scope there is a placeholder (ghcr.io)
            challenges = [with_scope(challenge, standard) for challenge in await self._ask_for_challenges()]
        self._remember(repository, challenges)
        answer = await self._answer(challenges, credential)
        if answer == sent:
            raise UpstreamUnauthorized(self._upstream, 401)
        return answer

    async def _ask_for_challenges(self) -> list[Challenge]:
        url = self._transport.url / "v2/"
        response = await self._transport.send(Request(method="GET", url=url, headers={}))
        response.release()
        return parse_challenges(response.headers.getall("WWW-Authenticate", ()))

    def _remember(self, repository: RepositoryName, challenges: list[Challenge]) -> None:
        """Keep what was asked for; a refusal that asks for nothing, as of a failing proxy, says nothing of the next."""
        self._challenges.pop(repository, None)
        if not challenges:
            return
        while len(self._challenges) >= MAX_REPOSITORIES:
            del self._challenges[next(iter(self._challenges))]
        self._challenges[repository] = challenges

    async def _answer(self, challenges: Sequence[Challenge], credential: Credential | None) -> Secret:
        for challenge in challenges:
            realm = challenge.parameters.get("realm", "")
            if challenge.scheme == "bearer" and realm:
                service = challenge.parameters.get("service", "")
                scope = challenge.parameters["scope"]
                wanted = WantedToken(realm=realm, service=service, scope=scope, credential=credential)
                return await self._tokens.get(wanted)
        if credential is not None and any(challenge.scheme == "basic" for challenge in challenges):
            return credential.basic()
        raise UpstreamUnauthorized(self._upstream, 401)


def with_scope(challenge: Challenge, scope: str) -> Challenge:
    """Return `challenge` asking for `scope`."""
    return Challenge(scheme=challenge.scheme, parameters={**challenge.parameters, "scope": scope})
