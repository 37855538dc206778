"""Forms that are damaged, or that send a photo as a field, are refused with the reason."""

import httpx
import pytest

FORM = {"Content-Type": "multipart/form-data; boundary=b"}
START = b'--b\r\nContent-Disposition: form-data; name="images"; filename="x.jpg"\r\n\r\n'


@pytest.fixture(params=["embedding", "classification"])
def url(request, services) -> str:
    paths = {
        "embedding": f"{services.embedding_url}/v1/embed",
        "classification": f"{services.classification_url}/classify?head=gaussian",
    }
    return paths[request.param]


def refusal(response: httpx.Response) -> str:
    assert (response.status_code, response.json()["error"]["code"]) == (422, "bad_request"), response.text
    return str(response.json()["error"]["message"])


def test_a_photo_without_a_file_name_is_no_file(url):
    for size in (10, 2 * 2**20):  # as curl sends -F images=<photo.jpg
        content = START.replace(b'; filename="x.jpg"', b"") + b"x" * size + b"\r\n--b--\r\n"
        assert "with a file name" in refusal(httpx.post(url, content=content, headers=FORM, timeout=60))


def test_a_form_that_ends_too_early_does_not_lose_its_last_file_in_silence(url, photos):
    whole = START + photos[0] + b"\r\n" + START + photos[1] + b"\r\n--b--"
    assert len(httpx.post(url, content=whole, headers=FORM, timeout=60).json()["items"]) == 2
    for cut in (whole[:-2], whole[: -len(photos[1]) // 2], whole[: len(START) + len(photos[0]) + 6]):
        assert "not sent whole" in refusal(httpx.post(url, content=cut, headers=FORM, timeout=60))


@pytest.mark.parametrize(
    ("headers", "content", "told"),
    [
        ({"Content-Type": "multipart/form-data"}, START, "boundary"),
        (FORM, b"no form at all", "cannot be read"),
        (FORM, START.replace(b' name="images";', b""), "name"),
    ],
)
def test_a_damaged_form_is_refused(url, headers, content, told):
    assert told in refusal(httpx.post(url, content=content, headers=headers, timeout=60))


def test_a_photo_that_is_no_file_is_not_lost_beside_one_that_is(url, photos):
    answer = httpx.post(url, data={"images": "a text"}, files={"files": ("a.jpg", photos[0])}, timeout=60)
    assert "a part has no file name" in refusal(answer)
