"""Fetch blobs that nobody is being sent: by ordinary fills, until they are kept here."""

import asyncio
from collections.abc import Iterable

from proxycache.oci.digest import Digest
from proxycache.registry.pull_blob import BlobPuller
from proxycache.registry.record import Recorder
from proxycache.registry.upstream_repository import UpstreamRepository
from proxycache.store.blobs import BlobStore
from proxycache.upstream.errors import UpstreamError

_LOOK_EVERY_SECONDS = 0.02
_LOOKS = 3_000


class WholeFetcher:
    """Fetches blobs, with all that a miss has: shared with who else asks, paced, resumed, verified."""

    def __init__(self, puller: BlobPuller, blobs: BlobStore, recorder: Recorder) -> None:
        self._puller = puller
        self._blobs = blobs
        self._recorder = recorder

    async def fetch(self, sources: Iterable[UpstreamRepository], digest: Digest) -> str:
        """Have the blob here, from the first source that gives it; return why that cannot be, or nothing."""
        why = "there is nobody to ask"
        for source in sources:
            try:
                why = await self._fetch_from(source, digest)
            except UpstreamError as error:
                why = str(error)
            if not why:
                break
        return why

    async def _fetch_from(self, source: UpstreamRepository, digest: Digest) -> str:
        stream = await self._puller.open(source, digest, None)
        try:
            if stream.cache == "passed":
                return "there is no room for it"
            async for _ in stream.parts:
                pass
            return await self._wait_until_kept(digest)
        finally:
            await stream.close()

    async def _wait_until_kept(self, digest: Digest) -> str:
        """Verified is not yet published; and its row comes before the claim on it ends."""
        for _ in range(_LOOKS):
            if self._blobs.has(digest):
                break
            await asyncio.sleep(_LOOK_EVERY_SECONDS)
        else:
            return "the disk did not keep it"
        async with self._recorder.publishing(digest):
            return ""
