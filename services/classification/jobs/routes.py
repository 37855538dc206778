"""The endpoints for jobs: start, list, show, cancel, follow, and the file that a job has made."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import FileResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from services.classification.jobs.service import ServiceJobs
from services.jobs.recorded import ENDED
from services.web.errors import TooManyFollowers, UnknownJob
from services.web.parameters import ParameterRoute
from services.web.schemas import JobDetails, JobRequest, JobsResponse, JobStatus, Name

router = APIRouter(prefix="/v1/jobs", route_class=ParameterRoute)

MOST_FOLLOWERS = 32
"""Largest number of requests that follow jobs at once."""

FOLLOW_SECONDS = 60.0
"""Longest time in which one request follows a job. Browsers then ask again by themselves."""

EVENT_SECONDS = 0.5
"""Shortest time between two events."""

SILENT_SECONDS = 10.0
"""Time without an event after which a comment is sent: proxies close silent connections."""

EVENTS = "text/event-stream"
EVENT = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"type": "string", "enum": ["progress", "end"], "description": "`end` for the last event of a job."},
        "data": {"type": "string", "description": "The fields of a `JobStatus` but for `error`, as JSON."},
    },
}
"""Schema of one event."""

FILE = "application/octet-stream"


async def _jobs(request: Request) -> ServiceJobs:
    jobs: ServiceJobs = request.app.state.service.jobs
    return jobs


Jobs = Annotated[ServiceJobs, Depends(_jobs)]


@router.post("", status_code=202, summary="Queue a job; it runs in a process of its own")
async def start_job(body: JobRequest, jobs: Jobs) -> JobDetails:
    return await run_in_threadpool(jobs.accept, body.root)


@router.get("", summary="All jobs, the newest first, in pages")
async def list_jobs(
    jobs: Jobs,
    start: Annotated[int, Query(ge=0, le=2**40, description="Number of jobs to skip.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="Largest number of jobs of the answer.")] = 50,
) -> JobsResponse:
    return await run_in_threadpool(jobs.page, start, limit)


@router.get("/{job_id}", summary="One job: its state, its progress, the end of its log, and what it made")
async def read_job(job_id: Name, jobs: Jobs) -> JobDetails:
    return await run_in_threadpool(jobs.details, job_id)


@router.post("/{job_id}/cancel", summary="Cancel a job that waits, or ask one that runs to stop")
async def cancel_job(job_id: Name, jobs: Jobs) -> JobDetails:
    return await run_in_threadpool(jobs.cancel, job_id)


@router.get(
    "/{job_id}/result",
    summary="The file that a job has made: predictions, a review of the store, or the report of a comparison",
    response_class=FileResponse,
    responses={200: {"content": {FILE: {"schema": {"type": "string", "format": "binary"}}}}},
)
async def read_result(job_id: Name, jobs: Jobs) -> FileResponse:
    path = await run_in_threadpool(jobs.file, job_id)
    # To be saved, never shown as a page of this service: its texts come from the data.
    return FileResponse(path, media_type=FILE, filename=path.name, headers={"X-Content-Type-Options": "nosniff"})


@router.get(
    "/{job_id}/events",
    summary="The state of a job as server-sent events, one for each change, until it ends or a minute is over",
    response_class=StreamingResponse,
    responses={200: {"content": {EVENTS: {"schema": EVENT}}}},
)
async def follow_job(job_id: Name, jobs: Jobs) -> StreamingResponse:
    await run_in_threadpool(jobs.status, job_id)
    if jobs.followers >= MOST_FOLLOWERS:
        raise TooManyFollowers(MOST_FOLLOWERS)
    return StreamingResponse(_events(job_id, jobs), media_type=EVENTS, headers={"Cache-Control": "no-store"})


async def _events(job_id: str, jobs: ServiceJobs) -> AsyncIterator[str]:
    """Yield one event for each change of a job. An event has no text that can name a path of the server."""
    jobs.followers += 1
    try:
        end, sent, sent_at = time.monotonic() + FOLLOW_SECONDS, "", time.monotonic()
        while time.monotonic() < end and not jobs.stopping():
            try:
                status = await run_in_threadpool(jobs.status, job_id)
            except UnknownJob:  # removed meanwhile
                return
            event = _event(status)
            if event != sent:
                yield event
                sent, sent_at = event, time.monotonic()
            elif time.monotonic() - sent_at > SILENT_SECONDS:
                yield ":\n\n"
                sent_at = time.monotonic()
            if status.state in ENDED:
                return
            await asyncio.sleep(EVENT_SECONDS)
    finally:
        jobs.followers -= 1


def _event(status: JobStatus) -> str:
    data = json.dumps(status.model_dump(mode="json", exclude={"error"}), separators=(",", ":"))
    return f"event: {'end' if status.state in ENDED else 'progress'}\ndata: {data}\n\n"
