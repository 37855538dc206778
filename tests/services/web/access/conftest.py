"""Both apps with a key for each role, called without a network."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from starlette.testclient import TestClient

from services import classification, embedding
from services.settings import Settings
from services.web.access.keys import Role, make

SERVICES = {"embedding": embedding, "classification": classification}
SECRETS, KEYS = zip(*(make(role.name, role) for role in Role), strict=True)
SECRET = dict(zip([role.name for role in Role], SECRETS, strict=True))
LINES = tuple(key.line for key in KEYS)

Call = Callable[..., TestClient]


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> ModuleType:
    return SERVICES[request.param]


@pytest.fixture
def app(tmp_path: Path) -> Call:
    """Return a client of the app of a service that has not started: it has no encoder and no head."""

    def make_client(service: ModuleType, *, key: str = "", **settings: object) -> TestClient:
        made = service.create_app(Settings(**{"store": "", "heads": tmp_path / "heads"} | settings))
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return TestClient(made, base_url="http://localhost", headers=headers, raise_server_exceptions=False)

    return make_client
