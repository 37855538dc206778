"""What a connection may send, and how long it may take, before the app sees a request and after it has answered."""

import json
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from services.classification import create_app
from services.processes import free_ports
from services.settings import Settings
from services.web import protocol, server

HEADERS = 8192
GET = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A classification service on a thread, with short times."""
    [port] = free_ports(1)
    heads = tmp_path_factory.mktemp("heads")
    settings = Settings(store="", heads=heads, max_header_bytes=HEADERS, max_receive_seconds=0.5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "HEAD_SECONDS", 0.5)
        patch.setattr(protocol, "LINGER_SECONDS", 0.5)
        patch.setattr(protocol, "UNREAD_SECONDS", 0.5)
        running = server.make_server(create_app(settings), settings, port)
        thread = threading.Thread(target=running.run)
        thread.start()
        while not running.started:
            time.sleep(0.01)
        yield port
        running.should_exit = True
        thread.join()


def talk(port: int, *pieces: bytes, pause: float = 0.0) -> bytes:
    """Send the pieces. Return everything that the service sends until it closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for piece in pieces:
            try:
                connection.sendall(piece)
            except ConnectionError:
                break
            time.sleep(pause)
        return received(connection)


def received(connection: socket.socket) -> bytes:
    answer = b""
    try:
        while piece := connection.recv(65536):
            answer += piece
    except ConnectionError:
        pass
    return answer


def code(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"\r\nx-request-id: " in head
    error = json.loads(body)["error"]
    assert error["request_id"].encode() in head
    return int(head.split()[1]), error["code"]


@pytest.mark.parametrize(
    "pieces",
    [
        (GET + b"X: ", *[b"x" * 4096] * 4096),
        (GET, *[b"a: b\r\n" * 1000] * 1000),
        (GET + b"a: b\r\n" * 2000 + b"\r\n",),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",),
        (b"GET /", *[b"x" * 4096] * 4096),
    ],
    ids=["one header", "many headers", "many in one piece", "url", "endless url"],
)
def test_large_headers_are_431(port, pieces):
    assert code(talk(port, *pieces)) == (431, "headers_too_large")


def test_headers_within_the_limit_are_answered(port):
    answer = talk(port, GET + b"X: " + b"x" * (HEADERS - 200) + b"\r\nConnection: close\r\n\r\n")
    assert b'{"status":"live"}' in answer


def test_endless_trailers_and_extensions_of_chunks_close_the_connection(port):
    start = b"POST /classify HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    for piece in (b"0\r\nX: ", b"1;x="):
        start_time = time.monotonic()
        talk(port, start + piece, *[b"x" * 65536] * 1000)
        assert time.monotonic() - start_time < 5


def test_what_is_no_http_is_400_in_the_shape_of_every_error(port):
    assert code(talk(port, b"\x16\x03\x01 hello\r\n\r\n")) == (400, "bad_request")


def test_headers_that_do_not_arrive_are_408(port):
    assert code(talk(port, GET + b"X: ", *[b"x"] * 8, pause=0.1)) == (408, "too_slow")


@pytest.mark.parametrize("pieces", [(), (b"\r\n",), (GET + b"\r\n",), (GET + b"\r\n", b"\r\n")])
def test_an_idle_connection_is_closed(port, pieces):
    start = time.monotonic()
    talk(port, *pieces)
    assert time.monotonic() - start < 5


def test_a_body_that_does_not_arrive_is_408(port):
    head = (
        b"POST /classify?head=x HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: 1000\r\n\r\n"
    )
    answer = talk(port, b"POST /heads/x/alias" + head[21:], *[b" "] * 8, pause=0.1)
    assert code(answer) == (408, "too_slow")


def test_an_answered_body_that_never_ends_is_cut_off_after_the_answer_is_read(port):
    head = b"POST /nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000000\r\n\r\n"
    start = time.monotonic()
    answer = talk(port, head, *[b"x" * 65536] * 100_000)
    assert b" 413 " in answer.splitlines()[0]
    assert time.monotonic() - start < 5


def test_a_few_pipelined_requests_are_answered_in_order_and_thousands_are_not_kept(port):
    few = [GET + b"X-Request-ID: n%d\r\n\r\n" % i for i in range(10)]
    answer = talk(port, b"".join(few))
    assert [int(part.split(b"\r\n")[0]) for part in answer.split(b"x-request-id: n")[1:]] == list(range(10))
    many = talk(port, (GET + b"\r\n") * 5000)
    assert many.count(b"200 OK") < 1000


def test_a_client_that_does_not_read_its_answer_is_disconnected(port):
    path = b"/docs/assets/swagger-ui-bundle.js"
    size = int(httpx.head(f"http://127.0.0.1:{port}{path.decode()}").headers["content-length"])
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(10)
        connection.connect(("127.0.0.1", port))
        connection.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 1)
        connection.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 3)
        time.sleep(2.5)
        assert len(received(connection)) < 4 * size
