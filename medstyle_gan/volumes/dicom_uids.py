"""New DICOM UIDs that are the same for the same old one."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path
from uuid import UUID

from medstyle_gan.errors import UserError

_KEY_BYTES = 32
_REGISTERED = "1.2.840.10008."  # the standard's own: classes, syntaxes, well-known frames


class UidMap:
    """Maps UIDs to new ones, so that what belonged together still does.

    The new UID is made from a keyed hash (HMAC-SHA256) of the old one. Without the key nobody
    can tell which old UID a new one came from, not even with a list of all old ones.

    Args:
        key: The same key maps alike in another process; default a random one.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._key = secrets.token_bytes(_KEY_BYTES) if key is None else key

    @classmethod
    def from_key_file(cls, path: str | os.PathLike[str]) -> UidMap:
        """The map of a key that is kept in a file, so that several runs and machines map alike.

        Args:
            path: The file; made with a random key, readable by its owner alone, where it is
                missing. Who has it and an old UID can tell the new one.

        Raises:
            UserError: The file is no key, or cannot be read or made.
        """
        path = Path(path)
        try:
            with suppress(FileExistsError):  # made before, or just now by another process
                _make_key(path)
            key = bytes.fromhex(path.read_text(encoding="ascii"))
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: cannot be used as a key file ({error})") from error
        if len(key) != _KEY_BYTES:
            raise UserError(
                f"{path}: is no key file, which holds {2 * _KEY_BYTES} hexadecimal digits; name "
                "another, it is made where it is missing"
            )
        return cls(key)

    def __call__(self, uid: str, purpose: str = "") -> str:
        """The new UID of an old one; the standard's own UIDs stay.

        Args:
            uid: The old UID.
            purpose: Another purpose gives another UID of the same old one.

        Returns:
            A UID below 2.25, which stands for UUIDs (ITU-T X.667) and needs no registration.
        """
        if uid.startswith(_REGISTERED):
            return uid
        digest = hmac.new(self._key, f"{purpose}\0{uid}".encode(), hashlib.sha256).digest()
        # Marked as a random UUID (version 4): what the hash is to anyone without the key.
        return f"2.25.{UUID(bytes=digest[:16], version=4).int}"


def _make_key(path: Path) -> None:
    """Makes the file whole and only where there is none, also when many processes start."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".medstyle-{secrets.token_hex(8)}.part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(_KEY_BYTES))
    try:
        os.link(part, path)
    finally:
        part.unlink()
