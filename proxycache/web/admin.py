"""What operators and orchestrators ask: is the process alive, can it serve, what did it do."""

from aiohttp import hdrs, web

from proxycache.observe.metrics import CONTENT_TYPE
from proxycache.oci.errors import NameUnknown
from proxycache.web.exchange import Exchange


async def get_admin(exchange: Exchange) -> web.StreamResponse:
    """Answer below `/-/`."""
    match exchange.endpoint.rest:
        case "health":
            return web.Response(text="ok\n")
        case "ready":
            is_ready = exchange.services.is_ready()
            return web.Response(status=200 if is_ready else 503, text="ready\n" if is_ready else "not ready\n")
        case "metrics":
            body = await exchange.services.metrics.render()
            return web.Response(body=body, headers={hdrs.CONTENT_TYPE: CONTENT_TYPE})
        case _:
            raise NameUnknown(f"/-/{exchange.endpoint.rest}", "no such page")
