"""The errors that a registry's client may see, with the codes and statuses of the distribution spec.

    ProxycacheError
    ├── RegistryError              client-visible: code, status, detail
    │   ├── NameInvalid 400 · NameUnknown 404 · TagInvalid 400 [MANIFEST_INVALID]
    │   ├── ManifestUnknown 404 · ManifestInvalid 400 · ManifestTooLarge 413 · ManifestBlobUnknown 404
    │   ├── BlobUnknown 404 · DigestInvalid 400 · SizeInvalid 400
    │   ├── BlobUploadUnknown 404 · BlobUploadInvalid 400
    │   ├── ChunkOutOfOrder 416 [BLOB_UPLOAD_INVALID] · RangeUnsatisfiable 416 [BLOB_UPLOAD_INVALID]
    │   ├── BodyStalled 408 [UNKNOWN] · StorageFull 507 [UNKNOWN]
    │   ├── Unauthorized 401 · SignInNeeded 401 [UNAUTHORIZED] · Denied 403 · Unsupported 405 · TooManyRequests 429
    │   ├── UpstreamFailed 502/503/504 [UNKNOWN] · LoopDetected 508 [UNKNOWN]
    │   └── OriginsSilent 503 [UNKNOWN] · Draining 503 [UNKNOWN]
    ├── UpstreamError              why another registry failed (upstream/errors.py)
    ├── StoreError                 what is wrong with the disk (store/errors.py)
    └── ConfigError                where, what, how to mend (config/errors.py)

A class is named like its code; it is raised with values and builds its message from them.
"""

from collections.abc import Sequence
from typing import ClassVar


class ProxycacheError(Exception):
    """Everything that this package raises on purpose; its text is one line for people."""


class RegistryError(ProxycacheError):
    """An error that a registry's client is told about (distribution-spec, "Error Codes")."""

    code: ClassVar[str] = "UNKNOWN"
    status: int = 500

    def __init__(self, message: str, *, detail: object = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail


class NameInvalid(RegistryError):
    """The repository's name breaks the grammar."""

    code = "NAME_INVALID"
    status = 400

    def __init__(self, name: str) -> None:
        super().__init__(f"invalid repository name {name[:300]!r}", detail={"name": name[:300]})


class NameUnknown(RegistryError):
    """No such repository, or a registry that is not configured."""

    code = "NAME_UNKNOWN"
    status = 404

    def __init__(self, name: str, reason: str = "repository name not known to registry") -> None:
        super().__init__(f"{name}: {reason}", detail={"name": name})


class TagInvalid(RegistryError):
    """The tag breaks the grammar."""

    code = "MANIFEST_INVALID"
    status = 400

    def __init__(self, tag: str) -> None:
        super().__init__(f"invalid tag {tag[:300]!r}", detail={"tag": tag[:300]})


class ManifestUnknown(RegistryError):
    """No such manifest in the repository."""

    code = "MANIFEST_UNKNOWN"
    status = 404

    def __init__(self, name: str, reference: str, reason: str = "manifest unknown") -> None:
        super().__init__(f"{name}: {reference}: {reason}", detail={"name": name, "reference": reference})


class ManifestInvalid(RegistryError):
    """The manifest cannot be understood."""

    code = "MANIFEST_INVALID"
    status = 400

    def __init__(self, reason: str) -> None:
        super().__init__(f"manifest invalid: {reason}")


class ManifestTooLarge(RegistryError):
    """The manifest is larger than what is accepted (distribution-spec end-7)."""

    code = "MANIFEST_INVALID"
    status = 413

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"manifest larger than {limit_bytes} bytes")


class ManifestBlobUnknown(RegistryError):
    """The manifest references what the registry does not have."""

    code = "MANIFEST_BLOB_UNKNOWN"
    status = 404

    def __init__(self, missing: Sequence[str]) -> None:
        super().__init__(f"manifest references unknown content: {', '.join(missing)}", detail=list(missing))


class OriginsSilent(RegistryError):
    """Whether what a manifest references can be borrowed cannot be told now."""

    status = 503

    def __init__(self, repositories: Sequence[str]) -> None:
        names = ", ".join(repositories)
        super().__init__(
            f"cannot ask {names} whether it still has the layers that are borrowed from it: push again later"
        )


class BlobUnknown(RegistryError):
    """No such blob in the repository."""

    code = "BLOB_UNKNOWN"
    status = 404

    def __init__(self, name: str, digest: str) -> None:
        super().__init__(f"{name}: blob {digest} unknown to registry", detail={"name": name, "digest": digest})


class DigestInvalid(RegistryError):
    """The digest breaks the grammar, or does not agree with the content."""

    code = "DIGEST_INVALID"
    status = 400

    def __init__(self, digest: str, reason: str = "invalid digest") -> None:
        super().__init__(f"{reason} {digest[:200]!r}", detail={"digest": digest[:200]})


class SizeInvalid(RegistryError):
    """The length does not agree with the content."""

    code = "SIZE_INVALID"
    status = 400

    def __init__(self, expected_bytes: int, received_bytes: int) -> None:
        super().__init__(f"{received_bytes} bytes received where {expected_bytes} were announced")


class BlobUploadUnknown(RegistryError):
    """No such upload session."""

    code = "BLOB_UPLOAD_UNKNOWN"
    status = 404

    def __init__(self, session: str) -> None:
        super().__init__(f"upload {session[:100]!r} unknown to registry")


class BlobUploadInvalid(RegistryError):
    """The upload cannot go on like this."""

    code = "BLOB_UPLOAD_INVALID"
    status = 400

    def __init__(self, reason: str) -> None:
        super().__init__(f"upload invalid: {reason}")


class ChunkOutOfOrder(RegistryError):
    """The chunk does not begin where the upload's bytes end (distribution-spec end-5)."""

    code = "BLOB_UPLOAD_INVALID"
    status = 416

    def __init__(self, start: int, offset: int) -> None:
        super().__init__(f"chunk out of order: it starts at {start}, and the next byte is {offset}")
        self.offset = offset


class BodyStalled(RegistryError):
    """The client stopped sending in the middle of a body; the connection ends with this answer."""

    status = 408

    def __init__(self, seconds: float) -> None:
        super().__init__(f"nothing came of the body for {seconds:.0f} seconds")


class StorageFull(RegistryError):
    """What is pushed does not fit on the disk."""

    status = 507

    def __init__(self) -> None:
        super().__init__("the registry's disk is full: nothing more can be stored; what was accepted stays")


class RangeUnsatisfiable(RegistryError):
    """The range asked for lies outside of the content."""

    code = "BLOB_UPLOAD_INVALID"
    status = 416

    def __init__(self, size_bytes: int) -> None:
        super().__init__(f"range not satisfiable: the content has {size_bytes} bytes")
        self.size_bytes = size_bytes


class Unauthorized(RegistryError):
    """The caller must say who it is."""

    code = "UNAUTHORIZED"
    status = 401

    def __init__(self, reason: str = "authentication required") -> None:
        super().__init__(reason)


class SignInNeeded(Unauthorized):
    """Signing in to this registry may help: the answer tells how, and for which `scope` to ask.

    `problem` is what is wrong with the token that came, in the words of RFC 6750, section 3.1.
    """

    def __init__(self, reason: str = "authentication required", *, scope: str = "", problem: str = "") -> None:
        super().__init__(reason)
        self.scope = scope
        self.problem = problem


class Denied(RegistryError):
    """The caller may not do this."""

    code = "DENIED"
    status = 403

    def __init__(self, reason: str = "requested access to the resource is denied") -> None:
        super().__init__(reason)


class Unsupported(RegistryError):
    """The operation is not possible here; `allowed` are the methods that are."""

    code = "UNSUPPORTED"
    status = 405

    def __init__(
        self, reason: str = "the operation is unsupported", *, allowed: Sequence[str] = ("GET", "HEAD")
    ) -> None:
        super().__init__(reason)
        self.allowed = tuple(allowed)


class TooManyRequests(RegistryError):
    """Somebody asks too often: this caller, or we at the upstream."""

    code = "TOOMANYREQUESTS"
    status = 429

    def __init__(self, reason: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds


class UpstreamFailed(RegistryError):
    """What was asked for is not held, and its upstream could not give it: 502, 503 or 504."""

    def __init__(self, reason: str, *, status: int) -> None:
        super().__init__(reason)
        self.status = status


class LoopDetected(RegistryError):
    """The request has already passed through this cache (RFC 5842, section 7.2)."""

    status = 508

    def __init__(self) -> None:
        super().__init__("loop detected: an upstream of this cache leads back to it")


class Draining(RegistryError):
    """This process is about to end."""

    status = 503

    def __init__(self) -> None:
        super().__init__("shutting down; ask again")
