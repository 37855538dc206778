"""ONNX models of heads: ONNX Runtime gives the head's own probabilities, and a model that differs is refused."""

import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from helpers.toys import EDGES, FINGERPRINT, make_toy, record_of

from classifiers.errors import ExportDiffers, ExportTooLarge
from classifiers.export import model
from classifiers.export.scores import SCORES
from classifiers.fit.fusion.estimator import FusionClassifier
from classifiers.fit.gaussian.estimator import GaussianClassifier
from classifiers.heads.linear import LinearHead
from classifiers.published.artifact import load, save
from classifiers.published.manifest import EncoderBlock


def published(tmp_path, head, toy, **changes):
    return load(save(tmp_path / "mine", head, record_of(head, toy, **changes)))


def answers(exported, **inputs):
    session = onnxruntime.InferenceSession(exported.model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True)), session.get_modelmeta().custom_metadata_map


def rows_of(head, X):
    return X.reshape(-1, *head.tokens) if head.reads_tokens else X


def fresh(toy, n=200):
    """Return rows that the export was not checked on: other draws, one of zeros, one far away."""
    X = np.concatenate([make_toy(n, seed=9).X, np.zeros((1, 12), np.float32), 20 * toy.X[:1]])
    return X.astype(np.float32)


def test_every_kind_gives_the_heads_own_probabilities(tmp_path, head, toy):
    own = published(tmp_path, head, toy)
    exported = model.of_vectors(own, toy.X[:50])
    X = fresh(toy)
    name = "tokens" if head.reads_tokens else "vectors"
    found, about = answers(exported, **{name: rows_of(head, X)})
    np.testing.assert_allclose(found["probabilities"], head.predict_proba(X), atol=1e-4)
    assert exported.difference < model.TOLERANCE
    assert json.loads(about["classes"]) == list(head.classes)
    assert (about["head"], about["version"], about["kind"]) == ("mine", own.version, head.kind)
    assert json.loads(about["encoders"]) == [{"name": "toy", "fingerprint": FINGERPRINT}]
    if head.link == "sigmoid":
        margin = np.abs(head.scores(X) - head.thresholds.labels)
        np.testing.assert_array_equal(found["labels"][margin > 1e-3], head.given(X)[margin > 1e-3])
    else:
        assert "labels" not in found


def test_every_rule_of_fusion_gives_the_heads_own_probabilities(tmp_path, fused, hard):
    head = fused.head_.with_temperature(1.7)
    blocks = tuple(
        EncoderBlock(name=f"toy{i}", fingerprint=f"{i}" * 64, columns=(EDGES[i], EDGES[i + 1])) for i in range(3)
    )
    exported = model.of_vectors(published(tmp_path, head, hard, encoders=blocks), hard.X[:50])
    X = fresh(hard)
    found, _ = answers(exported, **{f"toy{i}": X[:, EDGES[i] : EDGES[i + 1]] for i in range(3)})
    np.testing.assert_allclose(found["probabilities"], head.predict_proba(X), atol=1e-4)


@pytest.mark.parametrize("rule", ["vote-3", "confidence", "stack", "nlc", "cascade", "probability-average"])
def test_members_that_lack_classes(tmp_path, hard, rule):
    """Class 0 has no member, class 1 only the first one: -inf must not become NaN on the way."""
    head = FusionClassifier(rule=rule, blocks=EDGES, costs=(3, 1, 2)).fit(hard.X, hard.labels).head_
    members = [
        LinearHead(
            head.classes[first:],
            *(np.float32(np.random.default_rng(i).normal(size=s)) for s in ((5 - first, 4), 5 - first)),
        )
        for i, first in enumerate((1, 2, 2))
    ]
    made = type(head)(head.classes, members, head.blocks, head.combiner, temperature=0.8)
    X = fresh(hard)
    wanted = made.predict_proba(X)
    assert (wanted[:, 0] == 0).all()
    assert (wanted[:, 1] > 0).any()
    own = replace(published(tmp_path, head, hard), head=made)
    found, _ = answers(model.of_vectors(own, hard.X[:50]), vectors=X)
    np.testing.assert_allclose(found["probabilities"], wanted, atol=1e-4)


def test_quadratic_forms_in_hundreds_of_dimensions_keep_their_precision(tmp_path):
    toy = make_toy(n=1500, dim=256, n_classes=6, spread=0.1)
    head = GaussianClassifier(covariance="full").fit(toy.X, toy.labels).head_.with_temperature(30.0)
    exported = model.of_vectors(published(tmp_path, head, toy), toy.X[:100])
    found, _ = answers(exported, vectors=toy.X[500:])
    np.testing.assert_allclose(found["probabilities"], head.predict_proba(toy.X[500:]), atol=1e-4)


def test_a_model_that_differs_is_refused(tmp_path, toy, monkeypatch):
    own = published(tmp_path, GaussianClassifier().fit(toy.X, toy.labels).head_, toy)
    monkeypatch.setattr(model, "scores", lambda w, head, x: w.scaled(SCORES[head.kind](w, head, x), 1.01))
    with pytest.raises(ExportDiffers, match="mine was not written: a probability differs by"):
        model.of_vectors(own, toy.X[:50])


def test_a_model_above_the_limit_of_a_file_is_refused(tmp_path, toy, monkeypatch):
    own = published(tmp_path, GaussianClassifier(covariance="full").fit(toy.X, toy.labels).head_, toy)
    monkeypatch.setattr(model, "MOST_BYTES", 1000)
    with pytest.raises(ExportTooLarge, match="an ONNX file holds at most"):
        model.of_vectors(own, toy.X[:50])


def test_an_encoder_and_the_head_in_one_graph(tmp_path, toy):
    """The encoder is a graph of two nodes: pixels (n, 2, 6) uint8 → their values / 255, flattened."""
    head = GaussianClassifier().fit(toy.X, toy.labels).head_
    own = published(tmp_path, head, toy)
    pixels = np.random.default_rng(0).integers(0, 256, (9, 2, 6), np.uint8)
    float_, uint8 = onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8
    nodes = [
        onnx.helper.make_node("Cast", ["pixels"], ["values"], to=float_),
        onnx.helper.make_node("Div", ["values", "most"], ["small"]),
        onnx.helper.make_node("Reshape", ["small", "shape"], ["vectors"]),
    ]
    constants = [
        onnx.numpy_helper.from_array(np.float32(255), "most"),
        onnx.numpy_helper.from_array(np.array([-1, 12]), "shape"),
    ]
    port = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes, "encoder", [port("pixels", uint8, ["n", 2, 6])], [port("vectors", float_, ["n", 12])], constants
    )
    encoder = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10)
    exported = model.of_encoder(own, encoder, "vectors", {"pixels": pixels}, {"image": "{}"})
    found, about = answers(exported, pixels=pixels)
    wanted = head.predict_proba(pixels.reshape(9, 12).astype(np.float32) / 255)
    np.testing.assert_allclose(found["probabilities"], wanted, atol=1e-5)
    assert list(found) == ["probabilities"]
    assert about["image"] == "{}"
