"""POST /classify for heads that give any number of labels, on real services."""

import asyncio
import json
from dataclasses import replace

import httpx
import numpy as np
import pyarrow as pa
import pytest
from helpers.toys import unit
from typer.testing import CliRunner

from classifiers.errors import WrongFingerprint
from classifiers.heads.multilabel.bank.labels import LabelBank
from classifiers.prompts import PROMPTS, class_vectors
from classifiers.published.registry import Registry
from classifiers.training.pipeline import train
from embedder.media.image import decode
from services.classification import texts as texts_module
from services.classification.texts import LabelTexts
from services.cli.app import app
from services.client import AsyncClient, Client
from services.web.errors import RemoteProblem
from services.web.wire import ARROW_STREAM
from store import asset_id


@pytest.fixture(scope="module")
def client(services):
    with Client(services.classification_url, timeout=60) as client:
        yield client


def test_labels_over_their_threshold_stand_beside_the_ranking(client, home, lite0, photos):
    items = client.classify(photos, heads=["several", "gaussian"]).items
    published = Registry(home.settings.heads).load("several")
    vectors = lite0.embed(np.stack([lite0.prepare(decode(photo).image) for photo in photos])).vectors
    seen = set()
    for item, direct in zip(items, published.answer(vectors), strict=True):
        answer, single = item.answers
        assert [each.label for each in answer.labels] == [label for label, _ in direct.labels]
        assert [each.probability for each in answer.labels] == pytest.approx([p for _, p in direct.labels], abs=0.02)
        assert {each.label for each in answer.top_k} == {"bright", "even", "defective"}
        assert answer.prediction_set is None
        assert single.labels is None
        seen.add(len(answer.labels))
    assert len(seen) > 1  # photos with fewer and with more labels


def embedded(services) -> float:
    """Return the number of items that the embedding service has embedded."""
    lines = httpx.get(f"{services.embedding_url}/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith('headwater_items_total{outcome="ok"}'))


def test_labels_that_were_never_trained_are_asked_by_name(client, services, home, lite0, china):
    names, before = ["palace", "red car", "even"], embedded(services)
    [item] = client.classify([china], heads=["named"], labels=names, top_k=3).items
    [answer] = item.answers
    assert embedded(services) == before + 1 + 3 * len(PROMPTS)
    published = Registry(home.settings.heads).load("named")
    vectors = lite0.embed(np.stack([lite0.prepare(decode(china).image)])).vectors
    text = class_vectors(lite0.embed_texts, names, PROMPTS, (0, 1280))
    [direct] = published.with_labels(names, text).answer(vectors)
    assert [each.label for each in answer.top_k] == [label for label, _ in direct.top_k]
    assert [each.probability for each in answer.top_k] == pytest.approx([p for _, p in direct.top_k], abs=0.02)
    assert answer.label == "palace"
    client.classify([china], heads=["named"], labels=["red car", "temple"])
    assert embedded(services) == before + 2 + 4 * len(PROMPTS)  # a text is fetched once


def test_a_zero_shot_head_chooses_among_other_names(client, services, home, lite0, china):
    names = ["tennis ball", "palace", "volcano"]
    [item] = client.classify([china], heads=["words"], labels=names).items
    [answer] = item.answers
    published = Registry(home.settings.heads).load("words")
    vectors = lite0.embed(np.stack([lite0.prepare(decode(china).image)])).vectors
    text = class_vectors(lite0.embed_texts, names, PROMPTS, (0, 1280))
    unit = (vectors / np.linalg.norm(vectors) - published.head.centre) @ text.T
    assert answer.label == names[int(unit.argmax())] == "palace"
    form = {"head": "words", "labels": names}
    repeated = httpx.post(f"{services.classification_url}/classify", files={"images": china}, data=form, timeout=60)
    assert repeated.json()["items"][0]["answers"][0]["label"] == "palace"
    assert sum(each.probability for each in answer.top_k) == pytest.approx(1, abs=1e-5)
    assert answer.prediction_set is None
    [own] = client.classify([china], heads=["words"]).items[0].answers
    assert own.prediction_set is not None
    assert own.label in {"defective", "intact"}


@pytest.mark.parametrize(
    ("head", "labels", "code", "told"),
    [
        ("words", ["cat"], "not_offered", "needs at least 2 names"),
        ("named", [f"{i:0100}" for i in range(256)], "not_offered", "at most 65536"),
        ("several", ["cat"], "no_texts", "it knows bright, defective, even; leave labels out"),
        ("gaussian", ["cat"], "no_texts", "a kind that reads texts: bilinear"),
        ("named", ["cat", "cat"], "bad_request", "each once"),
        ("named", ["cat", " "], "bad_request", "none empty"),
        ("named", ["c" * 101], "bad_request", "has 101 characters, at most 100"),
        ("named", [str(i) for i in range(257)], "bad_request", "257 names, at most 256"),
    ],
)
def test_labels_that_cannot_be_asked_are_refused(client, photos, head, labels, code, told):
    with pytest.raises(RemoteProblem, match=told) as raised:
        client.classify(photos[:1], heads=[head], labels=labels)
    assert (raised.value.status, raised.value.code) == (422 if code == "bad_request" else 409, code)


def test_the_command_asks_for_labels_too(home, services, tmp_path, china):
    (tmp_path / "china.jpg").write_bytes(china)
    arguments = ["classify", str(tmp_path / "china.jpg"), "--head", "named", "--labels", "palace,red car", "--json"]
    done = CliRunner().invoke(app, [*arguments, "--url", services.classification_url])
    assert done.exit_code == 0, done.output
    [answer] = json.loads(done.stdout)["items"][0]["answers"]
    assert {each["label"] for each in answer["top_k"]} == {"palace", "red car"}


def ask(services, published, *requests):
    """Return the number of text vectors in memory after each of the requests for labels."""

    async def run() -> list[int]:
        counts = []
        async with AsyncClient(services.embedding_url, service="embedding") as client:
            texts = LabelTexts(client, at_once=5)  # fewer than a label has prompts
            for labels in requests:
                [head] = await texts.asked_for([published], labels)
                assert head.head.classes == tuple(labels)
                counts.append(len(texts._kept))
        return counts

    return asyncio.run(run())


def test_text_vectors_kept_are_bounded(services, home, monkeypatch):
    monkeypatch.setattr(texts_module, "KEPT", 3)
    published = Registry(home.settings.heads).load("named")
    before = embedded(services)
    assert ask(services, published, ["a", "b"], ["c", "a"], ["d"], ["a"], ["b"]) == [2, 3, 3, 3, 3]
    assert embedded(services) == before + 5 * len(PROMPTS)  # a, b, c, d, and b anew: it was asked longest ago


def test_texts_of_another_encoder_are_refused(services, home):
    published = Registry(home.settings.heads).load("named")
    encoders = (published.manifest.encoders[0].model_copy(update={"fingerprint": "a" * 64}),)
    other = replace(published, manifest=published.manifest.model_copy(update={"encoders": encoders}))
    with pytest.raises(WrongFingerprint, match="none with this fingerprint in the embedding service"):
        ask(services, other, ["cat"])


class TextsOfLite0:
    """The text side of lite0, and a bank of two labels that it knows."""

    def __init__(self, lite0):
        self.lite0 = lite0

    def __call__(self, _, texts):
        return self.lite0.embed_texts(texts)

    def bank(self, _):
        text = unit(self.lite0.embed_texts(["a house", "a solar panel"]))
        return LabelBank(10 * text, np.zeros(2, np.float32), text, unit=True)


def test_a_label_bank_answers_for_labels_that_were_never_trained(services, home, lite0, china, tmp_path):
    registry, options = Registry(tmp_path), {"task": "looks", "encoders": ["lite0"], "kind": "bank", "name": "known"}
    train(home.store, registry, texts=TextsOfLite0(lite0), **options)
    published = registry.load("known")
    assert (published.head.tokens, published.head.bank.bias.shape) == ((49, 1280), (2,))
    names = ["even", "palace", "red car"]

    async def ask_for_names():
        async with AsyncClient(services.embedding_url, service="embedding") as client:
            return await LabelTexts(client, at_once=5).asked_for([published], names)

    [asked] = asyncio.run(ask_for_names())
    tokens = lite0.embed(np.stack([lite0.prepare(decode(china).image)]), tokens=True).tokens.reshape(1, -1)
    own = published.head.scores(tokens)[0, published.head.classes.index("even")]
    assert asked.head.scores(tokens)[0, 0] == pytest.approx(own, abs=1e-3)
    [answer] = asked.answer(tokens, top_k=3)
    assert {label for label, _ in answer.top_k} == set(names)
    text = class_vectors(lite0.embed_texts, names, PROMPTS, (0, 1280))
    expected = published.with_labels(names, text).head.predict_proba(tokens)
    np.testing.assert_allclose(asked.head.predict_proba(tokens), expected, atol=0.02)


def test_a_decoder_gets_tokens_from_the_embedding_service_or_the_store(client, home, lite0, photos):
    published = Registry(home.settings.heads).load("parts")
    [item] = client.classify(photos[:1], heads=["parts", "several"]).items
    tokens = lite0.embed(np.stack([lite0.prepare(decode(photos[0]).image)]), tokens=True).tokens
    [direct] = published.answer(tokens.reshape(1, -1))
    assert [answer.head for answer in item.answers] == ["parts", "several"]
    assert item.answers[0].probability == pytest.approx(direct.probability, abs=0.02)
    ids = [asset_id(photos[0]), "f" * 64]
    stored, unknown = client.classify_ids(ids, heads=["parts"]).items
    assert stored.answers[0].probability == pytest.approx(item.answers[0].probability, abs=0.02)
    assert unknown.error.code == "unknown_id"


def test_a_decoder_refuses_vectors_with_the_reason(services):
    body = {"vectors": [[0.0] * 1280], "encoder": "lite0"}
    answer = httpx.post(f"{services.classification_url}/classify?head=parts", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "bad_vectors")
    assert "over a single vector its attention is a softmax of one number" in answer.json()["error"]["message"]


def test_tokens_are_sent_as_arrow_whatever_is_accepted(services, photos):
    url, files = f"{services.embedding_url}/v1/embed?tokens=true", [("files", ("a.jpg", photos[0]))]
    for accept in ("*/*", "application/json", ARROW_STREAM):
        answer = httpx.post(url, files=files, headers={"Accept": accept}, timeout=60).raise_for_status()
        assert answer.headers["content-type"] == ARROW_STREAM
        [vector] = pa.ipc.open_stream(answer.content).read_all()["vector"].to_pylist()
        assert len(vector) == 49 * 1280
    with Client(services.embedding_url, service="embedding") as client:
        [good, bad] = client.embed([photos[0], b"nothing"], encoder="lite0", tokens=True).items
    assert good.vector.shape == (49 * 1280,)
    assert bad.error.code == "unknown_format"
