"""Licences of model cards: found, shown once, and refused until a non-commercial use is confirmed."""

import pytest

from embedder.errors import LicenceNotAccepted
from embedder.weights import licence


@pytest.mark.parametrize(
    ("card", "named"),
    [
        ("---\nlicense: apache-2.0\n---\n# A", "apache-2.0"),
        ("---\r\nlanguage: en\r\nlicense: mit\r\n---\r\n", "mit"),
        ('\ufeff---\nlicense: "cc-by-nc-4.0"\n---', "cc-by-nc-4.0"),
        ("---\nlicense:\n- cc-by-nc-4.0\n---\n", "cc-by-nc-4.0"),
        ("---\nlicense: other\nlicense_name: dinov3-license\nlicense_link: LICENSE.md\n---\n", "dinov3-license"),
        ("---\ntags: [a]\n---\nlicense: mit", None),
        ("license: mit", None),
        ("---\nlicense: {a: b}\n---\n", None),
        ("", None),
    ],
)
def test_the_licence_of_a_card(tmp_path, card, named):
    (tmp_path / "README.md").write_bytes(card.encode())
    assert licence.of_card(tmp_path / "README.md") == named


def test_a_card_that_is_not_there_or_not_text_names_none(tmp_path):
    assert licence.of_card(tmp_path / "README.md") is None
    (tmp_path / "README.md").write_bytes(b"---\nlicense: \xff\xfe\n---\n")
    assert licence.of_card(tmp_path / "README.md") is None


@pytest.mark.parametrize(
    "name", ["cc-by-nc-4.0", "CC-BY-NC-SA-4.0", "fair-noncommercial-research-license", "apple-amlr", "x-non-commercial"]
)
def test_a_licence_that_forbids_commercial_use(tmp_path, name, caplog):
    with pytest.raises(LicenceNotAccepted, match=f"the licence {name}, which does not allow commercial use"):
        licence.check_named("hf/a/b", "a/b", name, accepted=False, marker=tmp_path / "told")
    for _ in range(2):
        licence.check_named("hf/a/b", "a/b", name, accepted=True, marker=tmp_path / "told")
    assert [record.getMessage() for record in caplog.records] == [
        f"the weights of a/b have the licence {name}, which does not allow commercial use. Vectors and heads made with "
        "them may be bound by it too. You confirmed that your use is not commercial."
    ]


@pytest.mark.parametrize("name", ["apache-2.0", "mit", "cc-by-4.0", "dinov3-license", "gemma", "openrail"])
def test_other_licences_are_shown_once(tmp_path, name, caplog):
    for _ in range(2):
        licence.check_named("hf/a/b", "a/b", name, accepted=False, marker=tmp_path / "told")
    assert [record.getMessage() for record in caplog.records] == [f"The weights of a/b have the licence {name}."]


def test_no_licence_is_said_too(tmp_path, caplog):
    licence.check_named("hf/a/b", "a/b", None, accepted=False, marker=tmp_path / "told")
    assert "no licence that its page names" in caplog.text
