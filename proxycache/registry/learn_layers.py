"""Learn what the layers of upstream images are unpacked: the diffIDs in their configs, paired with their manifests.

Where a client compresses a layer anew, its digest is another one and nothing can be borrowed; the diffID stays, and so
the log can say why. It is learnt behind the back of pulls, from configs that these bring; what local repositories were
sent teaches nothing, since a pusher may pair what it likes.
"""

import logging
from collections.abc import Sequence

from proxycache.events import Event, FillEnded
from proxycache.oci.descriptor import Descriptor
from proxycache.oci.digest import Digest, parse_digest
from proxycache.oci.errors import ManifestInvalid
from proxycache.oci.image_config import CONFIG_TYPES, MOST_CONFIG_BYTES, parse_diff_ids
from proxycache.oci.manifest import parse_manifest
from proxycache.registry.read_held import read_held
from proxycache.store.blobs import BlobStore
from proxycache.store.errors import StoreError
from proxycache.store.tables import Tables
from proxycache.tasks import Tasks

logger = logging.getLogger(__name__)

_MOST_MANIFEST_BYTES = 4 * 1024 * 1024


class LayerLearner:
    """Writes diffIDs into the ledger; subscribe `note` to `Events`."""

    def __init__(self, tables: Tables, blobs: BlobStore, tasks: Tasks) -> None:
        self._tables = tables
        self._blobs = blobs
        self._tasks = tasks

    def note(self, event: Event) -> None:
        """Look at what has just been filled, if it may be a config."""
        if not isinstance(event, FillEnded) or event.outcome != "published":
            return
        if event.fetched_bytes + event.inherited_bytes <= MOST_CONFIG_BYTES:
            self._tasks.detach("learn layers", self._learn_filled(event.repository, parse_digest(event.digest)))

    async def learn(self, layers: Sequence[Descriptor], config: Digest) -> None:
        """Note the diffIDs of an image's layers as its config, which is held, says; raises StoreError."""
        body = await read_held(self._blobs, config, most_bytes=MOST_CONFIG_BYTES)
        diff_ids = pair_diff_ids(layers, body or b"")
        if diff_ids:
            await self._tables.origins.record_diff_ids(diff_ids)

    async def _learn_filled(self, repository: str, digest: Digest) -> None:
        try:
            for manifest, media_type in await self._tables.manifests.list_configured(repository, digest):
                body = await read_held(self._blobs, manifest, most_bytes=_MOST_MANIFEST_BYTES)
                if body is not None:
                    await self.learn(parse_manifest(body, media_type).layers, digest)
        except (ManifestInvalid, StoreError) as error:
            logger.warning("layers not learnt", extra={"repository": repository, "why": str(error)})


def is_config(descriptor: Descriptor | None) -> bool:
    """Tell whether this names the config of an image, of a size that is worth reading."""
    return descriptor is not None and descriptor.media_type in CONFIG_TYPES and descriptor.size <= MOST_CONFIG_BYTES


def pair_diff_ids(layers: Sequence[Descriptor], config_body: bytes) -> dict[Digest, Digest]:
    """Return each layer's diffID; nothing where there is not one for each."""
    diff_ids = parse_diff_ids(config_body)
    if len(diff_ids) != len(layers):
        return {}
    return {layer.digest: diff_id for layer, diff_id in zip(layers, diff_ids, strict=True)}
