"""Gzip as a stream that is read once, at zlib's speed (twice that of the `gzip` module here)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import BinaryIO

GZIP_MAGIC = b"\x1f\x8b"
# Deflate cannot do better than 1032 to 1 (zlib's technical notes): a bound on what a file holds.
LARGEST_RATIO = 1032
_GZIP_WINDOW = 16 + zlib.MAX_WBITS  # zlib's code for a gzip header and checksum
_CHUNK = 1 << 15  # at that ratio it becomes 32 MiB at most


class GzipError(Exception):
    """The stream ends too early, or its bytes or checksum are wrong."""


class GzipReader:
    """Reads a gzip file, of one member or several, forwards.

    Args:
        file: Open binary file at the start of the gzip data.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._chunks = _inflate(file)
        self._ready = memoryview(b"")

    def readinto(self, buffer: memoryview) -> int:
        """Fills `buffer` (bytes) as far as the stream goes.

        Returns:
            The number of bytes written, less than asked for only at the end.

        Raises:
            GzipError: Truncated or corrupt data.
        """
        filled = 0
        while filled < len(buffer):
            if not self._ready:
                self._ready = memoryview(next(self._chunks, b""))
                if not self._ready:
                    break
            part = self._ready[: len(buffer) - filled]
            buffer[filled : filled + len(part)] = part
            self._ready = self._ready[len(part) :]
            filled += len(part)
        return filled

    def finish(self) -> None:
        """Reads on to the end and drops it, so that the last checksum is verified.

        Raises:
            GzipError: Truncated or corrupt data.
        """
        for _ in self._chunks:
            pass


def _inflate(file: BinaryIO) -> Iterator[bytes]:
    member = None  # None between members
    while compressed := file.read(_CHUNK):
        while compressed:
            if member is None:
                # Zeros between and after members are the padding of tapes and disks.
                compressed = compressed.lstrip(b"\0")
                if not compressed:
                    break
                member = zlib.decompressobj(_GZIP_WINDOW)
            try:
                data = member.decompress(compressed)
            except zlib.error as error:
                raise GzipError(str(error)) from error
            compressed = member.unused_data
            if member.eof:
                member = None
            if data:
                yield data
    if member is not None:
        raise GzipError("it ends in the middle")


class GzipWriter:
    """Writes one gzip member without a file name or time in its header.

    Neither the source's name (often a patient's) nor the moment gets into the file, and the
    same voxels give the same bytes.

    Args:
        file: Open binary file.
        level: zlib's level, 1 (fast) to 9.
    """

    def __init__(self, file: BinaryIO, level: int) -> None:
        self._file = file
        self._member = zlib.compressobj(level, zlib.DEFLATED, _GZIP_WINDOW)

    def write(self, data: bytes | memoryview) -> None:
        """Compresses and writes."""
        self._file.write(self._member.compress(data))

    def finish(self) -> None:
        """Writes what is still held back, and the checksum; the file stays open."""
        self._file.write(self._member.flush())
