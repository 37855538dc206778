"""The URL of a service, for every address that it may listen on."""

import httpx
import pytest

from services import processes


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("localhost", "localhost"),
        ("::", "::1"),
        ("::1", "::1"),
        ("fe80::2", "fe80::2"),
    ],
)
def test_the_url_of_an_address(host, reached):
    """An IPv6 address is in brackets, because its last group would otherwise be read as the port."""
    url = httpx.URL(processes.url_of(host, 8001))
    assert (url.host, url.port) == (reached, 8001)
