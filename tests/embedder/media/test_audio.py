"""Sounds in every supported format, compared with the written samples; broken sounds, each with its reason."""

import io
import struct
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
import soundfile
from helpers.sounds import sound, tone
from hypothesis import given
from hypothesis import strategies as st

from embedder.errors import BadMedia, BadSound
from embedder.media import audio

FORMS = {"WAV": "audio/wav", "FLAC": "audio/flac", "OGG": "audio/ogg", "MP3": "audio/mpeg", "RF64": "audio/wav"}


def refusal(data, **limits):
    with pytest.raises(BadSound) as caught:
        audio.decode(data, **limits)
    return caught.value


@pytest.mark.parametrize("form", FORMS)
def test_formats(form):
    data, wrote = sound(1, form, seconds=2.0), tone(1, seconds=2.0)[:, 0]
    found = audio.decode(data)
    assert (found.rate, found.samples.dtype, found.samples.ndim) == (16_000, np.float32, 1)
    info = audio.inspect(data)
    assert info.media_type == FORMS[form]
    assert info.seconds == pytest.approx(2.0, abs=0.1)
    heard = found.samples[: len(wrote)]
    lag = np.argmax(np.correlate(heard, wrote[2000:6000], "valid")) - 2000  # lossy formats may begin a little later
    apart = heard[lag + 2000 : lag + 6000] - wrote[2000:6000]
    assert np.sqrt(np.mean(apart**2)) < (0.03 if form in ("OGG", "MP3") else 1e-4)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
def test_kinds_of_samples(subtype):
    found = audio.decode(sound(2, subtype=subtype)).samples
    assert np.abs(found[:8000] - tone(2)[:, 0]).max() < {"PCM_U8": 0.01, "ULAW": 0.03, "ALAW": 0.03}.get(subtype, 1e-4)


def test_channels_are_averaged():
    found = audio.decode(sound(3, channels=3, subtype="FLOAT")).samples
    np.testing.assert_allclose(found, tone(3, channels=3).mean(axis=1), atol=1e-6)


def test_a_wav_that_was_streamed_has_no_sizes():
    data = bytearray(sound(4))
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"
    assert len(audio.decode(bytes(data)).samples) == 8000


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_what_is_cut_off_is_told(form, share):
    data = sound(5, form, seconds=3.0)
    assert refusal(data[: int(share * len(data))]).reason in ("truncated", "unsupported")


def test_bytes_that_are_no_sound():
    assert refusal(b"").reason == "empty"
    assert refusal(b"hello, this is text").reason == "unknown_format"
    assert refusal(b"RIFF\x24\x00\x00\x00WEBPVP8 ").reason == "unknown_format"
    assert refusal(b"RIFF" + struct.pack("<I", 4) + b"WAVE").reason == "truncated"
    assert refusal(b"fLaC" + bytes(100)).reason == "truncated"
    assert refusal(b"ID3" + bytes(3000)).reason in ("truncated", "unsupported")
    assert refusal(b"\xff\xfb\x90\x00" + bytes(50)).reason in ("truncated", "empty")


def test_no_samples():
    out = io.BytesIO()
    soundfile.write(out, np.zeros(0), 8000, format="WAV")
    assert refusal(out.getvalue()).reason == "empty"


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e10, -3e38])
def test_values_that_are_none(value):
    out = io.BytesIO()
    soundfile.write(out, np.array([0.0, value, 0.5]), 8000, format="WAV", subtype="FLOAT")
    assert refusal(out.getvalue()).reason == "unsupported"


def test_too_long_by_the_header_and_by_what_comes():
    data = sound(6, seconds=1.0)
    assert len(audio.decode(data, max_seconds=1.0).samples) == 16_000
    error = refusal(data, max_seconds=0.99)
    assert error.reason == "too_long"
    assert "1.0 s" in str(error)
    assert (error.limit, str(error)) == (
        "max_seconds",
        "the sound is too long: 1.0 s, at most 0.99 s are decoded; cut it",
    )
    assert audio.inspect(data).seconds == 1.0


@pytest.mark.parametrize("rate", [999, 200_000])
def test_rates_that_no_microphone_has(rate):
    assert refusal(sound(7, rate=rate)).reason == "unsupported"


@given(
    st.binary(max_size=400), st.sampled_from([b"", b"RIFF\0\1\0\0WAVEfmt ", b"fLaC", b"OggS", b"ID3\4", b"\xff\xfb"])
)
def test_any_bytes_give_a_sound_or_a_reason(data, start):
    with suppress(BadMedia):
        assert len(audio.decode(start + data).samples)


@given(st.integers(44, 15_000), st.integers(0, 255))
def test_one_wrong_byte_never_gets_out_as_another_error(position, value):
    data = bytearray(sound(8))
    data[position] = value
    with suppress(BadMedia):
        assert len(audio.decode(bytes(data)).samples)


def test_many_threads_at_once():
    files = [sound(seed, form) for seed, form in enumerate(["WAV", "FLAC", "OGG", "MP3"] * 4)]
    alone = [audio.decode(data).samples for data in files]
    with ThreadPoolExecutor(8) as pool:
        together = pool.map(lambda data: audio.decode(data).samples, files)
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("subtype", ["GSM610", "G721_32", "NMS_ADPCM_16", "NMS_ADPCM_24", "NMS_ADPCM_32"])
@pytest.mark.parametrize("seconds", [0.5, 10.0])
def test_codecs_that_cannot_seek(subtype, seconds):
    data, wrote = sound(9, subtype=subtype, rate=8_000, seconds=seconds), tone(9, rate=8_000, seconds=seconds)[:, 0]
    found = audio.decode(data).samples
    assert abs(len(found) - len(wrote)) <= 640  # two blocks of GSM
    assert np.corrcoef(found[: len(wrote)], wrote[: len(found)])[0, 1] > 0.9
    assert audio.inspect(data).seconds == pytest.approx(seconds, abs=0.08)
