"""Reads the parameters of a request, which may be in its query, in its form or in its JSON body.

A parameter of a form or a JSON body is put into the query before FastAPI reads it, so that it is checked by the same
rules wherever it was. Unknown parameters are refused by name: a misspelt one must not be ignored in silence.
"""

from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from fastapi import Request, Response
from starlette.datastructures import QueryParams

from services.web.errors import TooLarge, TwoValues
from services.web.json_bodies import JsonRoute, read_model
from services.web.known_names import ANY_KIND, fields_by_kind, fields_of, remember, require_known
from services.web.media_types import FORM, JSON, media_type
from services.web.schemas import ClassifyBody, InferRequest
from services.web.uploads import FILE_FIELDS, UPLOADS, read_form

BODY = "headwater.body"
"""Name under which the scope of a request has its JSON body, if that contains parameters too."""

LONGEST_PARAMETER = 2**16
"""Largest number of characters of the values of a parameter in a form."""

Given = Mapping[str, Sequence[str]]


_INFER = (InferRequest, (JSON, ""))  # tritonclient names no media type
BODIES: Mapping[str, tuple[type[ClassifyBody | InferRequest], Collection[str]]] = {
    "/classify": (ClassifyBody, (JSON,)),
    "/v2/models/{name}/infer": _INFER,
    "/v2/models/{name}/versions/{version}/infer": _INFER,
}
"""Path → the JSON body that this module reads, because it has parameters or may be large, and its media types."""


class ParameterRoute(JsonRoute):
    """A route whose parameters may be in the query, in the form or in the JSON body."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        parameters = {each.alias for each in self.dependant.query_params}
        content = (self.openapi_extra or {}).get("requestBody", {}).get("content", {})
        schema = self._body_schema()
        names = tuple(sorted({*parameters, *fields_of(content), *fields_of(schema)}))
        known = {**fields_by_kind(schema), ANY_KIND: names}
        body, kinds = BODIES.get(self.path, (None, ()))

        async def handle_request(request: Request) -> Response:
            remember(request.scope, known)
            require_known(QueryParams(request.scope["query_string"]), parameters, "query")
            kind = media_type(request)
            if kind == FORM and FORM in content:
                form = await read_form(request, request.app.state.service.settings.max_items)
                require_known(form.fields, (*parameters, *FILE_FIELDS), "form")
                request.scope[UPLOADS] = form.uploads
                put_into_query(request, form.fields, "form")
            elif body and kind in kinds:
                request.scope[BODY] = given = await read_model(request, body)
                put_into_query(request, given.query(), "JSON body")
            return await handle(request)

        return handle_request

    def _body_schema(self) -> dict[str, Any]:
        model = self.body_field and self.body_field.field_info.annotation
        return model.model_json_schema() if model else {}


def put_into_query(request: Request, given: Given, where: str) -> None:
    """Add parameters to the query of `request`. Raises TwoValues if it has other values already, and TooLarge."""
    query = QueryParams(request.scope["query_string"])
    more = []
    for name, values in given.items():
        if (there := query.getlist(name)) and there != list(values):
            raise TwoValues(name, there, values, where)
        if sum(map(len, values)) > LONGEST_PARAMETER:
            raise TooLarge(f"{name} has more than {LONGEST_PARAMETER} characters in the {where}; send fewer")
        more += [] if there else [(name, value) for value in values]
    if more:
        request.scope["query_string"] = urlencode([*query.multi_items(), *more]).encode()
