"""WWW-Authenticate headers (RFC 9110, section 11.6.1), read as registries write them.

A header may hold several challenges, and a comma parts challenges as well as parameters, so a header is scanned item by
item; splitting it would break on the commas and equals signs inside of quotes. What makes no sense is skipped.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

_TCHAR = r"[!#$%&'*+.^_`|~0-9A-Za-z-]"
# Possessive throughout: an upstream that sends nonsense gets no backtracking out of us.
_ITEM = re.compile(
    rf"""
    (?<! {_TCHAR} )
    (?: (?P<key> {_TCHAR}++ ) [ \t]*+ = [ \t]*+
        (?: " (?P<quoted> (?: [^"\\] | \\. )*+ ) "?  |  (?P<plain> [^\s,"=] [^\s,"]*+ ) )
      | (?P<scheme> {_TCHAR}++ ) (?= [ \t]*+ (?: , | \Z ) | [ \t]++ [^ \t,=] )
        (?: [ \t]++ [0-9A-Za-z._~+/-]++ =*+ (?= [ \t]*+ (?: , | \Z ) ) )?  # token68: nothing in it is for us
    )
    """,
    re.VERBOSE,
)
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One way in that a server offers. The scheme and the parameters' names are in lower case."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)


def format_challenge(challenge: Challenge) -> str:
    """Return the header's value; every parameter is quoted, and no control character gets into it."""
    pairs = (f'{key}="{_quote(value)}"' for key, value in challenge.parameters.items())
    return f"{challenge.scheme.capitalize()} {','.join(pairs)}".rstrip()


def parse_challenges(values: Sequence[str]) -> list[Challenge]:
    """Return the challenges of all WWW-Authenticate headers of an answer, in their order.

    The first of two equal parameters counts.
    """
    challenges: list[Challenge] = []
    for value in values:
        of_this_header: list[Challenge] = []
        for item in _ITEM.finditer(value):
            if item["scheme"] is not None:
                of_this_header.append(Challenge(scheme=item["scheme"].lower()))
            elif of_this_header:
                text = item["plain"] if item["quoted"] is None else _ESCAPED.sub(r"\1", item["quoted"])
                of_this_header[-1].parameters.setdefault(item["key"].lower(), text)
        challenges += of_this_header
    return challenges


def _quote(text: str) -> str:
    visible = "".join(c if c.isascii() and c.isprintable() else "?" for c in text)
    return visible.replace("\\", "\\\\").replace('"', '\\"')
