"""Image configs (image-spec, "Image Configuration"), of which only one thing is read: what each layer is, unpacked."""

import msgspec

from proxycache.oci import media_types
from proxycache.oci.digest import Digest, parse_digest
from proxycache.oci.errors import DigestInvalid

CONFIG_TYPES = (media_types.OCI_CONFIG, media_types.DOCKER_CONFIG)
MOST_CONFIG_BYTES = 1024 * 1024


class _RootFs(msgspec.Struct, frozen=True, kw_only=True):
    diff_ids: tuple[str, ...] | None = None


class _Document(msgspec.Struct, frozen=True, kw_only=True):
    rootfs: _RootFs | None = None


def parse_diff_ids(body: bytes) -> tuple[Digest, ...]:
    """Return the digest of each layer's tar, in the order of the manifest's layers; nothing if it does not say.

    Another compression changes a layer's digest, and leaves this one as it is.
    """
    try:
        document = msgspec.json.decode(body, type=_Document)
        names = document.rootfs.diff_ids if document.rootfs is not None else None
        return tuple(parse_digest(name) for name in names or ())
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, DigestInvalid):
        return ()
