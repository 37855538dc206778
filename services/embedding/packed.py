"""POST /v1/embed with a packed body: a short way past forms, FastAPI's parameters, and Arrow."""

from fastapi import Request, Response
from starlette.routing import Match, Route
from starlette.types import Scope

from services.embedding.state import EmbeddingService
from services.web.errors import BadRequest
from services.web.media_types import PACKED
from services.web.packed import pack_batch, unpack_files
from services.web.uploads import check_count


class PackedRoute(Route):
    """The route of requests with a packed body. All others of the path are for the routes after it."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        if match is Match.FULL and (b"content-type", PACKED.encode()) in scope["headers"]:
            return match, {**child, "route": self}
        return Match.NONE, {}


async def embed_packed(request: Request) -> Response:
    """Answer with the vectors of the files, or with all their tokens."""
    service: EmbeddingService = request.app.state.service
    if request.url.query:
        raise BadRequest("a packed body has the parameters in its header; leave the query out")
    asked, uploads = unpack_files(await request.body())
    check_count(len(uploads), service.settings.max_items)
    width = service.worker(asked.encoder).width(tokens=asked.tokens)
    batch = await service.embed(uploads, encoder=asked.encoder, tokens=asked.tokens)
    return Response(pack_batch(batch, width), media_type=PACKED)


route = PackedRoute("/v1/embed", embed_packed, methods=["POST"])
