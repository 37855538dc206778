"""Answers of the guards."""

from starlette.types import Receive, Scope, Send

from services.web.access.errors import Denied
from services.web.error_answers import error_response
from services.web.schemas import Problem


async def answer(error: Denied, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request with the refusal of a guard, in the shape of every other error."""
    response = error_response(error.status, Problem(code=error.code, message=str(error)), dict(error.headers))
    await response(scope, receive, send)
