"""Tell what a push cost: what its client sent, what was borrowed, and what was sent though an origin has its content.

All of it is found out behind the push's back, and only told, to who runs the cache; nothing depends on it.
"""

import logging
from dataclasses import dataclass

from proxycache.events import Events, ImagePushed, RecompressedLayer
from proxycache.oci.digest import Digest
from proxycache.oci.image_config import MOST_CONFIG_BYTES
from proxycache.oci.manifest import Manifest
from proxycache.registry.access import Caller
from proxycache.registry.borrow import Borrower
from proxycache.registry.learn_layers import is_config, pair_diff_ids
from proxycache.registry.read_held import read_held
from proxycache.store.blobs import BlobStore
from proxycache.store.errors import StoreError
from proxycache.store.tables import Tables
from proxycache.store.transfers import Transfer
from proxycache.tasks import Tasks

logger = logging.getLogger(__name__)

_MOST_TWINS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportServices:
    """What reporting a push needs."""

    tables: Tables
    blobs: BlobStore
    borrower: Borrower
    events: Events
    tasks: Tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class PushedImage:
    """What was pushed: a manifest that is recorded, and who pushed it."""

    repository: str
    reference: str
    digest: Digest
    manifest: Manifest
    caller: Caller


class PushReporter:
    """Emits ImagePushed."""

    def __init__(self, services: ReportServices) -> None:
        self._services = services

    def report_soon(self, image: PushedImage) -> None:
        """Report the push once its answer is out of the way."""
        self._services.tasks.detach("report push", self._report(image))

    async def _report(self, image: PushedImage) -> None:
        services = self._services
        try:
            transfer = await services.tables.transfers.count(image.repository, image.digest)
            recompressed = await self._find_recompressed(image, transfer)
        except StoreError as error:
            logger.warning("push not reported", extra={"repository": image.repository, "why": str(error)})
            return
        services.events.emit(
            ImagePushed(
                repository=image.repository,
                reference=image.reference,
                digest=str(image.digest),
                sent_bytes=transfer.sent_bytes,
                borrowed_bytes=transfer.borrowed_bytes,
                owned_bytes=transfer.owned_bytes,
                could_have_borrowed=recompressed,
            )
        )

    async def _find_recompressed(self, image: PushedImage, transfer: Transfer) -> tuple[RecompressedLayer, ...]:
        """Return which of the layers that were sent an origin has in other bytes."""
        services, config = self._services, image.manifest.config
        if config is None or not is_config(config) or not services.borrower.is_on:
            return ()
        body = await read_held(services.blobs, config.digest, most_bytes=MOST_CONFIG_BYTES)
        diff_ids = pair_diff_ids(image.manifest.layers, body or b"")
        found = []
        for layer in image.manifest.layers:
            if layer.digest in transfer.sent and layer.digest in diff_ids:
                found += await self._find_twin(layer.digest, layer.size, diff_ids[layer.digest], image.caller)
        return tuple(found)

    async def _find_twin(self, layer: Digest, size: int, diff_id: Digest, caller: Caller) -> list[RecompressedLayer]:
        """Return the same content under another digest at an origin that the pusher may know of, once at most."""
        twins = await self._services.tables.origins.list_same_content(diff_id, layer, most=_MOST_TWINS)
        for twin in twins:
            for origin in await self._services.borrower.list_admitted(twin, caller):
                named = RecompressedLayer(digest=str(layer), size=size, known_as=str(twin), origin=origin.repository)
                return [named]
        return []
