"""Checks of sound files before libsndfile opens them: files that are cut off, and parts that no sample needs."""

from struct import unpack_from

from embedder.errors import BadSound

_UNKNOWN_SIZE = (0, 0xFFFFFFFF)
"""Sizes written by programs that stream a WAV file and do not fill in its header afterwards."""
_MOST_CHUNKS = 1_000
_LARGE_TAG = 2**20
_NEEDED_CHUNKS = (b"fmt ", b"fact", b"ds64")


def check_whole(data: bytes) -> None:
    """Raise BadSound for a WAV or OGG file that is cut off: libsndfile would silently read the part that is there."""
    if data.startswith(b"RIFF"):
        (size,) = unpack_from("<I", data, 4)
        if size not in _UNKNOWN_SIZE and size + 8 > len(data) + 1:  # a last odd byte may lack its padding
            raise BadSound(
                "truncated", f"the WAV file has {len(data):,} of {size + 8:,} bytes; replace it with a whole copy"
            )
    elif data.startswith(b"OggS"):
        last = data[data.rfind(b"OggS") :]
        if len(last) < 27 or not last[5] & 4 or len(last) < 27 + last[26] + sum(last[27 : 27 + last[26]]):
            raise BadSound(
                "truncated", f"the OGG file of {len(data):,} bytes lacks its last page; replace it with a whole copy"
            )


def without_extras(data: bytes) -> bytes:
    """Return a WAV without the chunks that its samples do not need, and an MP3 without a large ID3 tag.

    libsndfile reads chunks and tags through functions in Python, some bytes at a time. Raises BadSound for too many
    chunks.
    """
    if data.startswith(b"ID3") and (size := _id3_size(data)) > _LARGE_TAG:
        return data[size:]
    if not data.startswith((b"RIFF", b"RF64")):
        return data
    kept, at, is_plain = [data[:12]], 12, True
    for _ in range(_MOST_CHUNKS):
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        end = at + 8 + size + size % 2
        if kind == b"data" or end > len(data):
            return data if is_plain and end >= len(data) else b"".join([*kept, data[at:end]])
        is_needed = kind in _NEEDED_CHUNKS
        kept += [data[at:end]] * is_needed
        is_plain, at = is_plain and is_needed, end
    raise BadSound("unsupported", f"the WAV file has more than {_MOST_CHUNKS:,} chunks; save it again")


def _id3_size(data: bytes) -> int:
    """Return the bytes of the ID3 tag at the start. Its header holds 28 bits of the size, 7 in each byte."""
    return 10 + sum((byte & 127) << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=False))
