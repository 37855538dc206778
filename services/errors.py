"""What can go wrong between a client and a service, beside the errors of the packages below."""


class ServiceDown(RuntimeError):
    """A service that is needed for the answer does not answer."""

    def __init__(self, service: str, url: str, why: str) -> None:
        super().__init__(f"the {service} service at {url} does not answer: {why}; start it, or set its URL")
        self.service = service


class RemoteProblem(RuntimeError):
    """A service answered with an error of its own: `status` (HTTP), `code` and sentence are passed on."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code = status, code


class BadRequest(ValueError):
    """A request can't be understood: which part, and what is allowed."""


class UnknownBackfill(LookupError):
    """No backfill of this process has this id."""

    def __init__(self, job_id: str, known: list[str]) -> None:
        super().__init__(f"no backfill {job_id!r} here; known: {', '.join(known) or 'none'} (a restart forgets them)")
