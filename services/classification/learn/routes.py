"""The endpoints for learning from corrections: what can be learned, and learn it."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.concurrency import run_in_threadpool

from services.classification.learn.service import Learning
from services.web.parameters import ParameterRoute
from services.web.schemas.learn import LearnableResponse, LearnRequest, LearnResponse

router = APIRouter(prefix="/v1/learn", route_class=ParameterRoute)


async def _learning(request: Request) -> Learning:
    learning: Learning = request.app.state.service.learning
    return learning


Learns = Annotated[Learning, Depends(_learning)]


@router.get("", summary="What can be learned; it also starts the process that trains")
async def read_learnable(learning: Learns) -> LearnableResponse:
    return await run_in_threadpool(learning.learnable)


@router.post("", summary="Train a new version of a head at once, and compare it with the version before")
async def learn(body: LearnRequest, learning: Learns) -> LearnResponse:
    return await learning.learn(body)
