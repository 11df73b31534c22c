"""Images that were pushed here, as the command line names them."""

from proxycache.cli.opened_store import routing_table, split_image
from proxycache.config.model import Settings
from proxycache.oci.errors import Unsupported
from proxycache.oci.names import parse_tag
from proxycache.policy.routing import choose_route


def parse_local_image(settings: Settings, text: str) -> tuple[str, str]:
    """Return the name and the tag ("": all that the repository has) that `NAME[:TAG]` means.

    Raises Unsupported for an upstream's name, NameInvalid, NameUnknown or TagInvalid.
    """
    name, tag = split_image(text)
    route = choose_route(routing_table(settings), name, None)
    if route.upstream is not None:
        raise Unsupported(f"{route.name}: an upstream's, so it borrows nothing")
    return str(route.name), "" if tag is None else parse_tag(tag)
