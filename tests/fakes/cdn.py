"""The other host that a registry redirects to, as S3 and its like behave.

It answers 400 to any `Authorization`, 403 to HEAD (the signature is for GET) and to signatures that it does not
know, which `expire()` makes of all that were given out.
"""

import itertools
from collections.abc import Callable

from aiohttp import web

from tests.builders import Content
from tests.fakes.faults import Fault
from tests.fakes.listener import Listener
from tests.fakes.sending import send


class FakeCdn(Listener):
    """Serves what `find` finds for a digest to whom brings a valid signature."""

    def __init__(self, find: Callable[[str], Content | None]) -> None:
        super().__init__(self._serve_content)
        self.head_refused = True
        self._find = find
        self._valid: set[str] = set()
        self._numbers = itertools.count()

    def sign(self, digest: str) -> str:
        """Return a URL that is good until `expire`."""
        signature = f"secret-signature-{next(self._numbers)}"
        self._valid.add(signature)
        return f"{self.url}/content/{digest}?X-Signature={signature}"

    def expire(self) -> None:
        """Let no URL that was given out count any more."""
        self._valid.clear()

    async def _serve_content(self, request: web.BaseRequest, fault: Fault) -> web.StreamResponse:
        if "Authorization" in request.headers:
            return web.Response(status=400, text="Only one auth mechanism allowed")
        if request.query.get("X-Signature") not in self._valid:
            return web.Response(status=403, text="Request has expired")
        if request.method == "HEAD" and self.head_refused:
            return web.Response(status=403)
        found = self._find(request.path.rpartition("/")[2])
        if found is None:
            return web.Response(status=404)
        return await send(request, found.body, {"Content-Type": "application/octet-stream"}, fault)
