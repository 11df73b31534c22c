"""Link headers (RFC 8288) between the pages of a list (distribution-spec, "Listing Tags")."""

import re
from urllib.parse import parse_qsl, urlencode

MOST_LISTED = 10_000  # entries of a page that we send, whatever is asked for

_LINK = re.compile(r'<(?P<target>[^<>]*+)>(?P<parameters>(?:"(?:[^"\\]|\\.)*+"?|[^"<])*+)')
_RELATIONS = re.compile(r';\s*+rel\s*+=\s*+(?:"([^"]*+)"|([^\s;,"]++))', re.IGNORECASE)


def parse_next_link(header: str) -> dict[str, str] | None:
    """Return the query of the link to the next page, or None where there is no next page.

    Host and path are left out on purpose: registries behind another proxy name hosts and paths that lead nowhere.
    """
    for link in _LINK.finditer(header):
        relations = _RELATIONS.search(link["parameters"])
        if relations is not None and "next" in (relations[1] or relations[2] or "").lower().split():
            query = link["target"].partition("#")[0].partition("?")[2]
            return dict(parse_qsl(query))
    return None


def format_next_link(path: str, n: int, last: str, **filters: str) -> str:
    """Return the Link header of a page of `n` entries at `path` that ends with `last`; `filters` go on applying."""
    return f'<{path}?{urlencode({"n": n, "last": last} | filters)}>; rel="next"'
