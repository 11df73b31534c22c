"""Sizes and times as people write them: `"50GiB"`, `"5m"`, `"forever"`. Parsing what was formatted gives it back."""

import math
import re

SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")
SIZE_UNITS = {"": 1, "B": 1}
SIZE_UNITS |= {f"{prefix}B": 1000**power for power, prefix in enumerate("KMGT", start=1)}
SIZE_UNITS |= {f"{prefix}iB": 1024**power for power, prefix in enumerate("KMGT", start=1)}
DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d|w))+")
DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
DURATION_UNITS = {"w": 604800.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
FOREVER = "forever"


def parse_size(text: str) -> int:
    """Return the bytes that `text` means (K is 1000, Ki is 1024); ValueError if it is not a size."""
    found = SIZE.fullmatch(text.strip())
    if found is None or found[2] not in SIZE_UNITS:
        raise ValueError('not a size such as "4MiB" or "50GB"')
    size = float(found[1]) * SIZE_UNITS[found[2]] if "." in found[1] else int(found[1]) * SIZE_UNITS[found[2]]
    if size != int(size):
        raise ValueError("not a whole number of bytes")
    return int(size)


def format_size(size: int) -> str:
    """Return the shortest exact text, in powers of 1024 where one divides it."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % SIZE_UNITS[unit] == 0:
            return f"{size // SIZE_UNITS[unit]}{unit}"
    return f"{size}B" if size else "0"


def parse_rate(text: str) -> int:
    """Return the bytes per second that `text` means, 0 for "0"; ValueError if it is not a rate."""
    size, slash, unit = text.strip().partition("/")
    try:
        if (slash and unit != "s") or (not slash and size != "0"):
            raise ValueError
        return parse_size(size)
    except ValueError:
        raise ValueError('not a rate such as "20MB/s", nor "0"') from None


def format_rate(rate: int) -> str:
    """Return the shortest exact text, in powers of 1000 where one divides it."""
    for unit in ("TB", "GB", "MB", "KB"):
        if rate and rate % SIZE_UNITS[unit] == 0:
            return f"{rate // SIZE_UNITS[unit]}{unit}/s"
    return f"{format_size(rate)}/s" if rate else "0"


def parse_duration(text: str) -> float:
    """Return the seconds that `text` means, infinity for "forever"; ValueError if it is not a time."""
    text = text.strip()
    if text == FOREVER:
        return math.inf
    if text == "0":
        return 0.0
    if not DURATION.fullmatch(text):
        raise ValueError('not a time such as "30s", "5m", "1h30m", "30d" or "forever"')
    return math.fsum(float(number) * DURATION_UNITS[unit] for number, unit in DURATION_PART.findall(text))


def format_duration(seconds: float) -> str:
    """Return the text in the largest unit that divides it."""
    if math.isinf(seconds):
        return FOREVER
    for unit in ("d", "h", "m", "s"):
        if seconds and seconds % DURATION_UNITS[unit] == 0:
            return f"{int(seconds // DURATION_UNITS[unit])}{unit}"
    return f"{seconds:f}".rstrip("0").rstrip(".") + "s"
