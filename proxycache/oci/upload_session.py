"""What a request may do to a blob's upload session (distribution-spec, "Pushing blobs"): pure verdicts.

A session has bytes from 0 up to its offset. What comes next begins there: a chunk that says it begins elsewhere is
refused, a body that says nothing is appended.
"""

import re

from proxycache.oci.errors import BlobUploadInvalid, ChunkOutOfOrder, SizeInvalid

ALGORITHMS = ("sha256", "sha512")
# The specification writes `start-end`; some clients write what RFC 9110 has for answers.
_NUMBER = r"[0-9]{1,18}"
_CONTENT_RANGE = re.compile(rf"(?:bytes[ =])?({_NUMBER})-({_NUMBER})(?:/(?:{_NUMBER}|\*))?", re.IGNORECASE)


def parse_algorithm(text: str | None) -> str:
    """Return the algorithm by which a session's bytes are hashed as they come; raises BlobUploadInvalid."""
    if text is None:
        return ALGORITHMS[0]
    if text not in ALGORITHMS:
        raise BlobUploadInvalid(f"digest algorithm {text[:50]!r} is none of {', '.join(ALGORITHMS)}")
    return text


def judge_body(offset: int, content_range: str | None, size: int | None) -> int | None:
    """Return how many bytes a body must have that may be appended at `offset`; None: as many as come.

    `size` is its Content-Length, None where it has none. Raises ChunkOutOfOrder, BlobUploadInvalid or SizeInvalid.
    """
    if content_range is None:
        return size
    match = _CONTENT_RANGE.fullmatch(content_range.strip())
    if match is None:
        raise BlobUploadInvalid(f"content range {content_range[:100]!r} is not start-end")
    first, last = int(match[1]), int(match[2])
    if last < first:
        raise BlobUploadInvalid(f"content range {content_range[:100]!r} ends before it starts")
    announced = last + 1 - first
    if size is not None and size != announced:
        raise SizeInvalid(announced, size)
    if first != offset:
        raise ChunkOutOfOrder(first, offset)
    return announced


def format_range(offset: int) -> str:
    """Return the Range header that says what a session has; of nothing `0-0`, which docker insists on."""
    return f"0-{max(offset - 1, 0)}"
