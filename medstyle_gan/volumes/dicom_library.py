"""pydicom, which the extra `dicom` installs: imported only where it is needed."""

from __future__ import annotations

from types import ModuleType

from medstyle_gan.errors import UserError


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
