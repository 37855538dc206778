"""The endpoint that says who asks, and what that caller may do."""

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from services.classification.routes import Service
from services.web.access.guard import KEY
from services.web.access.keys import Key, Role
from services.web.parameters import ParameterRoute
from services.web.schemas import Me

router = APIRouter(prefix="/v1/me", route_class=ParameterRoute)


@router.get("", summary="Who asks, and what that caller may do")
async def show_me(request: Request, service: Service) -> Me:
    key: Key | None = request.scope.get(KEY)
    jobs = await run_in_threadpool(service.jobs.usable)
    role = key.role if key else Role.admin
    return Me(name=key.name if key else None, role=role.name, keys=bool(service.settings.keys), jobs=jobs)
