"""Learn a base without pulling a layer: where its tag points, then every platform's manifest and config.

The tag is asked for by HEAD; what it pointed to the last time is not asked for again, though all of it may have been
evicted since: what counts is in the origin ledger. Where a config could not be had, or a part was forgotten since, it
is all gone through again the next time.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from proxycache.clock import Clock
from proxycache.oci.descriptor import Descriptor
from proxycache.oci.digest import Digest
from proxycache.oci.errors import ManifestInvalid, Unsupported
from proxycache.oci.manifest import Manifest, parse_manifest
from proxycache.oci.names import Tag, parse_tag
from proxycache.policy.routing import Route
from proxycache.registry.access import Access
from proxycache.registry.fetch_whole import WholeFetcher
from proxycache.registry.learn_layers import LayerLearner, is_config
from proxycache.registry.pull_manifest import ManifestPuller
from proxycache.registry.upstream_repository import UpstreamRepository
from proxycache.store.bases import Bases
from proxycache.store.origins import Origins, origins_in
from proxycache.upstream.errors import UpstreamError, UpstreamMisbehaved, UpstreamNotFound

logger = logging.getLogger(__name__)

_MOST_MANIFESTS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A tag of an upstream's repository, by canonical name."""

    repository: str
    tag: Tag

    def __str__(self) -> str:
        return f"{self.repository}:{self.tag}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LearntBase:
    """What a base points to. `is_new`: that was not known before, and `images` and `layers` say how much it is."""

    digest: Digest
    is_new: bool
    images: int = 0
    layers: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningServices:
    """What learning a base needs."""

    access: Access
    manifests: ManifestPuller
    fetcher: WholeFetcher
    layers: LayerLearner
    bases: Bases
    origins: Origins
    clock: Clock


class BaseLearner:
    """Learns bases."""

    def __init__(self, services: LearningServices) -> None:
        self._services = services

    async def learn(self, base: Base) -> LearntBase:
        """Learn what the base's tag points to now; raises UpstreamError or StoreError, then nothing counts as learnt.

        A platform that the upstream does not have, though the index names it, is no failure.
        """
        services = self._services
        source = await services.access.open_origin(base.repository, None)
        if source is None:
            registry = base.repository.partition("/")[0]
            raise UpstreamNotFound(
                registry, f"{base.repository} cannot be read by everybody, or is refused by the rules"
            )
        row = await services.manifests.ask_now(source, base.tag)
        if await services.bases.find_learnt(str(base)) == row.digest:
            return LearntBase(digest=row.digest, is_new=False)
        images = await self._learn_manifests(source, row.digest)
        if all([await self._learn_config(source, image) for image in images]):
            await services.bases.note_learnt(str(base), row.digest, now=services.clock.now())
        layers = {layer.digest for image in images for layer in image.layers}
        return LearntBase(digest=row.digest, is_new=True, images=len(images), layers=len(layers))

    async def _learn_manifests(self, source: UpstreamRepository, top: Digest) -> list[Manifest]:
        """Return the image manifests below `top`, itself included."""
        seen, waiting, images = {top}, [top], list[Manifest]()
        while waiting:
            digest = waiting.pop()
            try:
                manifest = await self._learn_manifest(source, digest)
            except UpstreamNotFound:
                if digest == top:
                    raise
                continue
            if manifest.kind == "manifest":
                images.append(manifest)
            children = [item.digest for item in manifest.manifests if item.digest not in seen]
            if len(seen) + len(children) > _MOST_MANIFESTS:
                raise UpstreamMisbehaved(source.upstream, f"{top} names more than {_MOST_MANIFESTS} manifests")
            seen.update(children)
            waiting += children
        return images

    async def _learn_manifest(self, source: UpstreamRepository, digest: Digest) -> Manifest:
        """Note what the manifest names, also where its bytes were here already, by another repository's name.

        Of those the repository has shown nothing now, so that it is asked before anybody relies on them.
        """
        services = self._services
        pulled = await services.manifests.pull(source, digest, with_body=True)
        try:
            manifest = parse_manifest(pulled.body or b"", pulled.media_type)
        except ManifestInvalid as error:
            raise UpstreamMisbehaved(source.upstream, f"{digest} is no manifest: {error}") from error
        seen_at = 0.0 if pulled.cache == "hit" else services.clock.now()
        await services.origins.record(*origins_in(source.name, manifest.references(), seen_at=seen_at))
        return manifest

    async def _learn_config(self, source: UpstreamRepository, image: Manifest) -> bool:
        """Note what the image's layers are unpacked; False if its config may be had another time."""
        config = image.config
        if config is None or not is_config(config):
            return True
        why = await self._services.fetcher.fetch([source], config.digest)
        if not why:
            await self._services.layers.learn(image.layers, config.digest)
            return True
        facts = {"repository": source.name, "digest": str(config.digest), "why": why}
        logger.warning("config of a base not learnt", extra=facts)
        return await self._is_gone(source, config)

    async def _is_gone(self, source: UpstreamRepository, config: Descriptor) -> bool:
        try:
            await source.online().head_blob(source.repository, config.digest)
        except UpstreamNotFound:
            return True
        except UpstreamError:
            pass
        return False


def parse_base(reference: str, route: Callable[[str], Route]) -> Base:
    """Return the base that `NAME:TAG` means (`NAME`: its tag `latest`); raises a RegistryError if it means none."""
    head, slash, last = reference.rpartition("/")
    last, _, tag = last.partition(":")
    routed = route(head + slash + last)
    if routed.upstream is None:
        raise Unsupported(f"{reference}: lives here, so there is no upstream to learn it from")
    return Base(repository=str(routed.name), tag=parse_tag(tag or "latest"))
