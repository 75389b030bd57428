from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

Edit = Callable[[nib.Nifti1Header], None]


@pytest.fixture
def values() -> np.ndarray:
    """(7, 6, 5) whole numbers from 0 to 100, all sides different so that no swap of axes hides."""
    return np.random.default_rng(0).integers(0, 101, size=(7, 6, 5))


@pytest.fixture
def write_raw(tmp_path: Path, values: np.ndarray) -> Callable[..., Path]:
    """Writes NIfTI bytes without nibabel's repairs, so that a header can be as wrong as need be."""

    def write(
        name: str = "scan.nii",
        edit: Edit | None = None,
        array: np.ndarray | None = None,
        version: int = 1,
        endianness: str = "<",
        extension: bytes = b"",
    ) -> Path:
        array = values.astype(np.int16) if array is None else array
        header_class = nib.Nifti1Header if version == 1 else nib.Nifti2Header
        header = header_class(endianness=endianness)
        header.set_data_dtype(array.dtype)
        header.set_data_shape(array.shape)
        header.set_sform(np.diag([2.0, 3.0, 4.0, 1.0]), code=1)
        header["pixdim"][1:4] = 2, 3, 4
        header["vox_offset"] = header.single_vox_offset + len(extension)
        if edit is not None:
            edit(header)
        path = tmp_path / name
        data = array.astype(array.dtype.newbyteorder(endianness)).tobytes(order="F")
        flag = bytes([bool(extension), 0, 0, 0])
        content = header.binaryblock + flag + extension + data
        if name.endswith(".gz"):
            content = gzip.compress(content)
        path.write_bytes(content)
        return path

    return write
