"""Faults of libraries: an exception for the one sound that has a certain number of samples."""

import pytest
import soundfile

from embedder.encoders import melstat


def decoder_fails(monkeypatch: pytest.MonkeyPatch, samples: int, fault: BaseException) -> None:
    """Make libsndfile's binding raise `fault` for sounds of so many samples."""
    read = soundfile.SoundFile.read

    def failing(self, *args, **options):
        if self.frames == samples:
            raise fault
        return read(self, *args, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", failing)


def preparation_fails(monkeypatch: pytest.MonkeyPatch, samples: int, fault: BaseException) -> None:
    """Make the encoder melstat raise `fault` for sounds of so many samples."""
    statistics = melstat.statistics

    def failing(sound):
        if sound.length == samples:
            raise fault
        return statistics(sound)

    monkeypatch.setattr(melstat, "statistics", failing)
