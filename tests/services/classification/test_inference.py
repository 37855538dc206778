"""The Open Inference Protocol: heads as KServe's and Triton's clients ask them, with the answers of /classify."""

import base64
import json

import httpx
import pytest


@pytest.fixture(scope="module")
def v2(services):
    with httpx.Client(base_url=f"{services.classification_url}/v2", timeout=60) as client:
        yield client


def tensor(answer: httpx.Response, name: str) -> dict:
    assert answer.status_code == 200, answer.text
    return next(each for each in answer.json()["outputs"] if each["name"] == name)


def images(photos: list[bytes]) -> dict:
    data = [base64.b64encode(photo).decode() for photo in photos]
    return {"name": "image", "datatype": "BYTES", "shape": [len(data)], "data": data}


def test_the_server_and_its_heads_describe_themselves(v2, services):
    assert httpx.get(f"{services.classification_url}/v2").json()["extensions"] == []
    assert v2.get("/health/live").json() == {"live": True}
    assert v2.get("/health/ready").json()["ready"] is True
    found = v2.get("/models/gaussian").json()
    [version] = found["versions"]
    assert found["inputs"][1] == {
        "name": "vector", "datatype": "FP32", "shape": [-1, 1280], "parameters": {"encoder": "lite0"},
    }  # fmt: skip
    assert v2.get(f"/models/gaussian/versions/{version}").json() == found
    assert v2.get("/models/gaussian/ready").json() == {"name": "gaussian", "ready": True}
    assert v2.get("/models/none/ready").status_code == 404
    assert [each["name"] for each in v2.get("/models/parts").json()["inputs"]] == ["image"]  # it reads tokens


def test_images_and_their_vectors_have_the_answers_of_classify(v2, services, photos):
    files = [("images", ("x", photo)) for photo in photos[:3]]
    url = f"{services.classification_url}/classify?head=gaussian"
    expected = [item["answers"][0] for item in httpx.post(url, files=files, timeout=60).json()["items"]]
    embedded = httpx.post(f"{services.embedding_url}/v1/embed", files=files, timeout=60).json()["items"]
    rows = [item["vector"] for item in embedded]
    flat = [value for row in rows for value in row]
    outputs = [{"name": "probabilities"}, {"name": "label"}, {"name": "probability"}]
    classes = v2.get("/models/gaussian").json()["parameters"]["classes"]
    for given in (
        images(photos[:3]),
        {"name": "vector", "datatype": "FP32", "shape": [3.0, 1280], "data": rows},
        {"name": "vector", "datatype": "FP64", "shape": [3, 1280], "data": flat, "parameters": {"encoder": "lite0"}},
    ):
        answer = v2.post("/models/gaussian/infer", json={"id": "7", "inputs": [given], "outputs": outputs})
        assert answer.json()["id"] == "7"
        assert tensor(answer, "label") == {
            "name": "label", "datatype": "BYTES", "shape": [3], "data": [each["label"] for each in expected],
        }  # fmt: skip
        probability = tensor(answer, "probability")["data"]
        assert probability == pytest.approx([each["probability"] for each in expected], abs=1e-5)
        all_ = tensor(answer, "probabilities")
        assert all_["shape"] == [3, len(classes)]
        for i, each in enumerate(expected):
            row = all_["data"][i * len(classes) : (i + 1) * len(classes)]
            assert classes[row.index(max(row))] == each["label"]
            assert sum(row) == pytest.approx(1, abs=1e-5)
    assert {each["name"] for each in answer.json()["outputs"]} == {"label", "probability", "probabilities"}


def vector(**changed: object) -> dict:
    return {"name": "vector", "datatype": "FP32", "shape": [1, 1280], "data": [0.5] * 1280} | changed


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (vector(shape=[2, 1280]), "the shape [1280], and not [2, 1280]"),
        (vector(shape=[1280]), "does not fit"),
        (vector(data=["a"]), "no numbers"),
        (vector(data=[[1.0], [1.0, 2.0]]), "no numbers, or lists of different lengths"),
        (vector(shape=[1, 3], data=[1, 2, 3]), "item 0 of input vector"),
        (vector(datatype="BYTES"), "FP32"),
        (vector(data=[None] * 1280), "item 0 of input vector"),
        ({**images([b"x"]), "shape": [2]}, "does not fit"),
        ({**images([b"x"]), "data": [1]}, "no text"),
        (images([b"no photo"]), "item 0 of input image"),
        (vector(name="pixels"), "'image' or 'vector'"),
        (vector(nme="x"), "did you mean 'name'?"),
    ],
)
def test_what_fits_no_head_is_refused_with_the_reason(v2, given, told):
    answer = v2.post("/models/gaussian/infer", content=json.dumps({"inputs": [given]}), headers=JSON)
    assert answer.status_code == 422, answer.text
    assert told in answer.json()["error"]["message"]


JSON: dict[str, str] = {}  # as tritonclient sends it, without a media type


def test_binary_tensors_are_refused_with_the_option_that_avoids_them(v2):
    headers = {"Inference-Header-Content-Length": "2", "Content-Type": "application/octet-stream"}
    answer = v2.post("/models/gaussian/infer", content=b"{}\0\0", headers=headers)
    assert (answer.status_code, "binary_data=False" in answer.json()["error"]["message"]) == (422, True)
