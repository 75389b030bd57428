from __future__ import annotations

import gzip
import io

import numpy as np
import pytest

from medstyle_gan.volumes.gzip_stream import GzipError, GzipReader, GzipWriter

NOISE = np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8).tobytes()
PAYLOADS = {"nothing": b"", "short": b"abc", "zeros": bytes(5_000_000), "noise": NOISE}


def read_all(compressed: bytes, step: int) -> bytes:
    reader = GzipReader(io.BytesIO(compressed))
    parts = []
    while True:
        buffer = bytearray(step)
        count = reader.readinto(memoryview(buffer))
        parts.append(bytes(buffer[:count]))
        if count < step:
            return b"".join(parts)


@pytest.mark.parametrize("step", [1000, 131_072, 6_000_000])
@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_reads_what_the_gzip_module_wrote(payload, step):
    assert read_all(gzip.compress(payload), step) == payload


@pytest.mark.parametrize("padding", [b"", bytes(10), bytes(400_000)])
def test_reads_several_members_and_skips_zero_padding(padding):
    compressed = gzip.compress(b"one") + padding + gzip.compress(NOISE) + padding
    assert read_all(compressed, 4096) == b"one" + NOISE


@pytest.mark.parametrize("kept", [0.01, 0.5, 0.99999])
def test_a_truncated_stream_is_an_error(kept):
    compressed = gzip.compress(NOISE)
    with pytest.raises(GzipError, match="ends in the middle"):
        read_all(compressed[: int(kept * len(compressed))], 4096)


def test_a_wrong_checksum_is_an_error_even_when_no_more_bytes_are_asked_for():
    compressed = bytearray(gzip.compress(NOISE))
    compressed[-5] ^= 1
    reader = GzipReader(io.BytesIO(bytes(compressed)))
    reader.readinto(memoryview(bytearray(1000)))
    with pytest.raises(GzipError, match="check"):
        reader.finish()


def test_other_bytes_after_the_data_are_an_error():
    with pytest.raises(GzipError):
        read_all(gzip.compress(b"one") + b"rubbish", 4096)


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_writes_what_the_gzip_module_reads_without_name_or_time(payload):
    file = io.BytesIO()
    writer = GzipWriter(file, level=1)
    for start in range(0, len(payload), 70_000):
        writer.write(payload[start : start + 70_000])
    writer.finish()
    assert gzip.decompress(file.getvalue()) == payload
    flags, time = file.getvalue()[3], file.getvalue()[4:8]
    assert (flags, time) == (0, bytes(4))
