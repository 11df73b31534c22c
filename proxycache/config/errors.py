"""What is wrong with a configuration: where, which key, which value, why, and what was probably meant."""

import difflib
import json
import re
from collections.abc import Iterable

from proxycache.oci.errors import ProxycacheError

USER_INFO = re.compile(r"//[^/@\s]*@")
LONGEST_VALUE = 80


class ConfigError(ProxycacheError):
    """The configuration cannot be used; its text is one line and holds no secret.

    `where` is `FILE:LINE`, `environment VARIABLE` or `command line`.
    """

    def __init__(self, where: str, reason: str, *, key: str = "", value: object = None, nearest: str = "") -> None:
        setting = key if value is None else f"{key} = {show_value(value)}"
        hint = f"; did you mean {nearest}?" if nearest else ""
        super().__init__(": ".join(part for part in (where, setting, reason) if part) + hint)
        self.where = where
        self.key = key
        self.reason = reason
        self.nearest = nearest


def show_value(value: object) -> str:
    """Return `value` on one short line, without the user name and password that a URL may hold."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = USER_INFO.sub("//***@", text)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the one of `known` that looks most like `word`, or nothing."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)), "")
