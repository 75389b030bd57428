"""pydicom, which the extra `dicom` installs: imported only where it is needed."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

from medstyle_gan.errors import UserError

if TYPE_CHECKING:
    from pydicom import Dataset


def require_pydicom() -> ModuleType:
    """The library, its pixel decoders included.

    Raises:
        UserError: It is not installed.
    """
    try:
        import pydicom
        import pydicom.pixels
    except ImportError as error:
        raise UserError(
            "DICOM needs pydicom, which is not installed: pip install medstyle-gan[dicom]"
        ) from error
    return pydicom


def set_file_meta(dataset: Dataset, syntax: str) -> None:
    """Gives an object a file header of its own, in place of all that stood in the old one.

    Args:
        dataset: With its class and instance UIDs.
        syntax: Transfer syntax that its pixels are in.
    """
    meta = require_pydicom().dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    # The preamble may hold another format's header with text of its own.
    dataset.file_meta, dataset.preamble = meta, bytes(128)
