"""What happens, as values: rooms emit them, `observe` counts and logs them.

A label that becomes a metric label is bounded (an upstream's name, an outcome); repositories and digests go to
the log only.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class FillEnded:
    """A fill ended. `outcome`: published, failed, wrong_content, passed_through or interrupted."""

    upstream: str
    repository: str
    digest: str
    outcome: str
    fetched_bytes: int
    inherited_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowerJoined:
    """A reader joined a fill that somebody else had started."""

    upstream: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BytesFetched:
    """Body bytes arrived from an upstream."""

    upstream: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamAnswered:
    """An upstream sent its headers (`status`), or did not (`status` 0). `kind`: manifest, blob, tags, referrers."""

    upstream: str
    kind: str
    method: str
    status: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequested:
    """A token was asked for. `outcome`: granted, refused or failed."""

    upstream: str
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimitSeen:
    """An upstream said how many pulls remain."""

    upstream: str
    remaining: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobsEvicted:
    """So many blobs made room, of so many bytes together."""

    count: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobPushed:
    """A local repository got a blob from a client; `seconds` since the upload began."""

    repository: str
    digest: str
    size: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RecompressedLayer:
    """A layer that a client sent, though `origin` has its content under another digest, `known_as`."""

    digest: str
    size: int
    known_as: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePushed:
    """A local repository got a manifest; how the bytes of its blobs came.

    `sent_bytes` are those that no earlier push was told of. `could_have_borrowed`: what of them was sent in vain.
    """

    repository: str
    reference: str
    digest: str
    sent_bytes: int
    borrowed_bytes: int
    owned_bytes: int
    could_have_borrowed: tuple[RecompressedLayer, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginsAudited:
    """The origins of borrowed blobs were asked; so many images depend on one that is gone, or silent for a day."""

    images_at_risk: int


Event = (
    BlobPushed
    | BlobsEvicted
    | FillEnded
    | FollowerJoined
    | BytesFetched
    | ImagePushed
    | OriginsAudited
    | UpstreamAnswered
    | TokenRequested
    | RateLimitSeen
)


class Events:
    """Hands each event to every subscriber, at once and in order."""

    def __init__(self) -> None:
        self._subscribers: list[Callable[[Event], None]] = []

    def subscribe(self, subscriber: Callable[[Event], None]) -> None:
        """Call `subscriber` with each event from now on."""
        self._subscribers.append(subscriber)

    def emit(self, event: Event) -> None:
        """Tell every subscriber."""
        for subscriber in self._subscribers:
            subscriber(event)
