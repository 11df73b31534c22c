"""How and how much is logged."""

from dataclasses import dataclass
from typing import Literal

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """The log on stderr. Raises ValueError with one line that names the key."""

    format: Literal["text", "json"] = "text"
    level: Literal["debug", "info", "warning", "error"] = "info"

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"format: is none of {', '.join(FORMATS)}")
        if self.level not in LEVELS:
            raise ValueError(f"level: is none of {', '.join(LEVELS)}")
