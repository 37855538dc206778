"""The default address of the running services follows the settings of their address."""

import pytest

from services.classification.state import ClassificationService
from services.processes import free_ports
from services.settings import Settings


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.2", "127.0.0.2"), ("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("127.0.0.1", "127.0.0.1")],
)
@pytest.mark.parametrize("command", [["classify", "photo.jpg"], ["search", "--text", "a palace"]])
def test_a_command_calls_the_address_on_which_the_service_listens(headwater, tmp_path, command, host, url):
    (tmp_path / "photo.jpg").write_bytes(b"")
    [port] = free_ports(1)
    arguments = [str(tmp_path / each) if each == "photo.jpg" else each for each in command]
    code, _, err = headwater(*arguments, HEADWATER_HOST=host, HEADWATER_CLASSIFICATION_PORT=str(port))
    assert code == 1
    assert f"the classification service at http://{url}:{port}" in err


@pytest.mark.parametrize("url", ["http://[::1", "http://localhost:port"])
def test_a_url_that_is_none_is_named_in_one_line(headwater, tmp_path, url):
    code, out, err = headwater("search", "--text", "a palace", "--url", url)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: the classification service at {url} does not answer (this is no URL: Invalid ")


def test_the_classification_service_looks_for_the_embedding_service_where_that_listens():
    def url(**settings: object) -> str:
        return str(ClassificationService(Settings(store="", **settings)).embedding._http.base_url).rstrip("/")

    assert url() == "http://127.0.0.1:8000"
    assert url(embedding_port=9000) == "http://127.0.0.1:9000"
    assert url(host="127.0.0.2", embedding_port=9000) == "http://127.0.0.2:9000"
    assert url(embedding_url="http://embedding:8000", embedding_port=9000) == "http://embedding:8000"
