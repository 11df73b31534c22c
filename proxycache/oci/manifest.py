"""Manifests: image manifests and indexes of both families, OCI's and Docker's.

A manifest is read only for what it references and how it is listed; its bytes are never rewritten (invariant 10). A
manifest of another type is nobody's business but its users': it is accepted as it is, and references nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeVar

import msgspec

from proxycache.oci import media_types
from proxycache.oci.descriptor import Descriptor, DescriptorDocument
from proxycache.oci.errors import DigestInvalid, ManifestInvalid

Decoded = TypeVar("Decoded")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a manifest says. `artifact_type` is the one that the referrers API lists (distribution-spec end-12)."""

    media_type: str
    kind: Literal["manifest", "index"]
    config: Descriptor | None
    layers: tuple[Descriptor, ...]
    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None
    artifact_type: str
    annotations: dict[str, str]

    def required_children(self) -> tuple[Descriptor, ...]:
        """Return the entries of an index: all of them have to be there."""
        return self.manifests

    def required_parts(self) -> tuple[Descriptor, ...]:
        """Return config and those layers that a registry must have; what it may not hand out is elsewhere."""
        config = () if self.config is None else (self.config,)
        layers = (item for item in self.layers if not (item.urls and media_types.is_nondistributable(item.media_type)))
        return (*config, *layers)

    def references(self) -> tuple[Descriptor, ...]:
        """Return what must be there for this manifest to be complete; its subject may come later or never."""
        config = () if self.config is None else (self.config,)
        return (*config, *self.layers, *self.manifests)


class _Document(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An image manifest or an index as its JSON spells it; Go writes an absent list or map as null."""

    config: DescriptorDocument | None = None
    layers: tuple[DescriptorDocument, ...] | None = None
    manifests: tuple[DescriptorDocument, ...] | None = None
    subject: DescriptorDocument | None = None
    artifact_type: str | None = None
    annotations: dict[str, str] | None = None


def parse_manifest(body: bytes, media_type: str) -> Manifest:
    """Return what `body` says as a manifest of `media_type`; raises ManifestInvalid."""
    document = _decode(body, _Document) if media_type in media_types.MANIFEST_TYPES else _Document()
    is_index = media_types.is_index(media_type)
    if document.manifests is not None and (document.config is not None or document.layers is not None):
        # CVE-2021-41190: such a document means one thing to one reader and another to the next.
        raise ManifestInvalid("it is an image manifest and an index at once")
    try:
        config = None if document.config is None else document.config.check()
        subject = None if document.subject is None else document.subject.check()
        layers, manifests = _check_all(document.layers), _check_all(document.manifests)
    except DigestInvalid as error:
        raise ManifestInvalid(error.message) from error
    return Manifest(
        media_type=media_type,
        kind="index" if is_index else "manifest",
        config=config,
        layers=layers,
        manifests=manifests,
        subject=subject,
        artifact_type=document.artifact_type or (config.media_type if config else ""),
        annotations=document.annotations or {},
    )


def manifest_media_type(body: bytes, content_type: str) -> str:
    """Return the type of a manifest that came with this Content-Type header; raises ManifestInvalid if nothing tells.

    The header counts, without its parameters; where it says nothing, the manifest's own `mediaType`; else its shape.
    """
    declared = content_type.partition(";")[0].strip().lower()
    if not media_types.is_generic(declared):
        return _checked(declared)
    fields = _decode(body, dict[str, object])
    own = fields.get("mediaType")
    if isinstance(own, str) and own:
        return _checked(own)
    if fields.get("schemaVersion") == 1:
        return media_types.DOCKER_SCHEMA1_SIGNED if "signatures" in fields else media_types.DOCKER_SCHEMA1
    if "manifests" in fields:
        return media_types.OCI_INDEX
    if "config" in fields:
        return media_types.OCI_MANIFEST
    raise ManifestInvalid("neither its Content-Type nor its content tells its media type")


def check_own_media_type(body: bytes, media_type: str) -> None:
    """Raise ManifestInvalid if the manifest says or shows that it is something else than the `media_type` it comes as.

    Only of the types that are known here: what the fields of others mean is not ours to say.
    """
    if media_type in media_types.MANIFEST_TYPES:
        fields = _decode(body, dict[str, object])
        foreign = ("config", "layers") if media_types.is_index(media_type) else ("manifests",)
        if any(fields.get(name) is not None for name in foreign):
            raise ManifestInvalid(f"it has no {' and no '.join(foreign)} if it is of type {media_type}")
        own = fields.get("mediaType")
        if own not in (None, "", media_type):
            raise ManifestInvalid(f"its mediaType is {str(own)[:100]!r}, and its Content-Type {media_type}")


def recognise_manifest(body: bytes) -> str:
    """Return the type of bytes of which nobody says that they are a manifest; raises ManifestInvalid unless they are.

    Image configs and attestations are JSON, too, and some have the keys of a manifest.
    """
    media_type = manifest_media_type(body, "")
    is_version_2 = _decode(body, dict[str, object]).get("schemaVersion") == 2
    manifest = parse_manifest(body, media_type)
    if media_type not in media_types.MANIFEST_TYPES or not is_version_2 or not (manifest.config or manifest.manifests):
        raise ManifestInvalid("it does not look like one")
    return media_type


def _checked(media_type: str) -> str:
    if not media_types.is_media_type(media_type):
        raise ManifestInvalid(f"{media_type[:100]!r} is not a media type")
    return media_type


def _check_all(documents: Iterable[DescriptorDocument] | None) -> tuple[Descriptor, ...]:
    return tuple(document.check() for document in documents or ())


def _decode(body: bytes, kind: type[Decoded]) -> Decoded:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ManifestInvalid(str(error)) from error
    except RecursionError as error:
        raise ManifestInvalid("it is nested too deeply") from error
