"""Descriptors (image-spec, "Content Descriptors"): how a manifest names content that lies elsewhere.

`Descriptor` is what the rest of the package sees: checked, and with nothing missing. `DescriptorDocument` is what the
JSON may say; fields that nobody here reads may hold anything.
"""

from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from proxycache.oci.digest import Digest, parse_digest

# What a row can hold, and more than any content has.
_Size = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """What an image runs on; empty where the manifest does not say."""

    os: str = ""
    architecture: str = ""
    variant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """The name, type and size of one content. `urls`: where else its bytes lie, for what no registry may hand out."""

    media_type: str
    digest: Digest
    size: int
    urls: tuple[str, ...] = ()
    annotations: dict[str, str] = field(default_factory=dict)
    artifact_type: str = ""
    platform: Platform | None = None


class DescriptorDocument(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A descriptor as its JSON spells it; Go writes an absent list or map as null."""

    media_type: str
    digest: str
    size: _Size
    urls: tuple[str, ...] | None = None
    annotations: dict[str, str] | None = None
    artifact_type: str | None = None
    platform: Platform | None = None

    def check(self) -> Descriptor:
        """Return the descriptor; raises DigestInvalid."""
        return Descriptor(
            media_type=self.media_type,
            digest=parse_digest(self.digest),
            size=self.size,
            urls=self.urls or (),
            annotations=self.annotations or {},
            artifact_type=self.artifact_type or "",
            platform=self.platform,
        )
