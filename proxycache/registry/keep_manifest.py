"""Keep a manifest that was pulled: its exact bytes as a blob, then its rows (invariants 2 and 10)."""

import contextlib

import msgspec

from proxycache.oci import media_types
from proxycache.oci.errors import ManifestInvalid
from proxycache.oci.manifest import parse_manifest
from proxycache.registry.make_room import RoomMaker
from proxycache.registry.note_unkept import Unkept
from proxycache.registry.record import Recorder
from proxycache.registry.upstream_repository import UpstreamRepository
from proxycache.store.blobs import BlobStore
from proxycache.store.errors import StoreError
from proxycache.store.manifests import ManifestRow
from proxycache.upstream.client import FetchedManifest
from proxycache.upstream.errors import UpstreamMisbehaved, UpstreamNotFound


class SchemaOneOnly(UpstreamNotFound):
    """The upstream has it, but only as schema 1, which is not passed on."""

    def __init__(self, upstream: str) -> None:
        super().__init__(upstream, "has it as manifest schema 1 only, which is not supported: push the image again")


class ManifestKeeper:
    """Puts manifests where the next asker finds them."""

    def __init__(self, blobs: BlobStore, recorder: Recorder, room: RoomMaker, unkept: Unkept, *, max_size: int) -> None:
        self._blobs = blobs
        self._room = room
        self._recorder = recorder
        self._unkept = unkept
        self.max_size = max_size

    async def keep(self, source: UpstreamRepository, fetched: FetchedManifest) -> None:
        """Store a verified manifest; where the disk refuses, it is passed on unkept.

        Raises UpstreamMisbehaved if it is no manifest at all, so that a login page never becomes an image.
        """
        if media_types.is_schema1(fetched.media_type):
            raise SchemaOneOnly(source.upstream)
        try:
            msgspec.json.decode(fetched.body, type=dict[str, msgspec.Raw])
            manifest = parse_manifest(fetched.body, fetched.media_type)
        except (ManifestInvalid, msgspec.DecodeError) as error:
            raise UpstreamMisbehaved(source.upstream, f"sent something else for a manifest: {error}") from error
        row = ManifestRow(
            digest=fetched.digest,
            media_type=fetched.media_type,
            size=len(fetched.body),
            subject=manifest.subject.digest if manifest.subject else None,
            artifact_type=manifest.artifact_type,
            annotations=manifest.annotations,
        )
        async with self._recorder.publishing(fetched.digest), contextlib.AsyncExitStack() as keeping:
            try:
                await self._room.reserve(fetched.digest, len(fetched.body))
                await keeping.enter_async_context(self._blobs.kept(fetched.digest))
                await self._blobs.put(fetched.digest, fetched.body)
            except BaseException as error:
                await self._room.release(fetched.digest)
                if not isinstance(error, OSError | StoreError):
                    raise
                self._unkept.note(source.name, fetched.digest, error)
                return
            await self._recorder.record_manifest(source, row, manifest.references())
