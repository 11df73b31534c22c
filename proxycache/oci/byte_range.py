"""Byte ranges as RFC 9110, section 14, has them; inside, a range is half open: `start` up to, not with, `stop`."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from proxycache.oci.errors import RangeUnsatisfiable

# 18 digits are more than any content has, and int() takes time by the square of the length.
_NUMBER = r"[0-9]{1,18}"
_RANGE = re.compile(rf"bytes=[ \t]*(?P<first>{_NUMBER})?-(?P<last>{_NUMBER})?[ \t]*", re.IGNORECASE)
_CONTENT_RANGE = re.compile(rf"bytes ({_NUMBER})-({_NUMBER})/({_NUMBER}|\*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The bytes from `start` up to, not with, `stop`."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """How many bytes these are."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True, kw_only=True)
class ByteRange:
    """One range as a client asks for it: without `first` the last `last` bytes, without `last` all from `first` on."""

    first: int | None
    last: int | None

    def resolve(self, size: int) -> Span:
        """Return the bytes meant of a content of `size` bytes; raises RangeUnsatisfiable if there are none."""
        if self.first is None:
            start, stop = max(size - (self.last or 0), 0), size
        else:
            start, stop = self.first, size if self.last is None else min(self.last + 1, size)
        if start >= stop:
            raise RangeUnsatisfiable(size)
        return Span(start=start, stop=stop)


class ContentRange(NamedTuple):
    """Which bytes an answer holds; `total` is None where the answering side does not know it."""

    start: int
    stop: int
    total: int | None


def parse_range(header: str) -> ByteRange | None:
    """Return the one range that a Range header asks for, or None where the header is to be ignored.

    Ignored (RFC 9110, section 14.2) are other units, what is malformed, and several ranges at once: no registry's
    client sends those, and the whole content is a correct answer to them. One that ends before it begins is understood,
    and no content can satisfy it: the conformance suite wants that answer of the two that are allowed.
    """
    match = _RANGE.fullmatch(header)
    if match is None:
        return None
    first, last = (None if digits is None else int(digits) for digits in match.group("first", "last"))
    if first is None and last is None:
        return None
    return ByteRange(first=first, last=last)


def content_range(span: Span, size: int) -> str:
    """Return the Content-Range header of an answer that holds `span` of `size` bytes."""
    return f"bytes {span.start}-{span.stop - 1}/{size}"


def parse_content_range(text: str) -> ContentRange:
    """Return what a Content-Range header says; raises ValueError if that makes no sense."""
    match = _CONTENT_RANGE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not a content range: {text[:100]!r}")
    start, last = int(match[1]), int(match[2])
    total = None if match[3] == "*" else int(match[3])
    if last < start or (total is not None and total <= last):
        raise ValueError(f"contradictory content range: {text[:100]!r}")
    return ContentRange(start=start, stop=last + 1, total=total)
