"""New DICOM UIDs that are the same for the same old one."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from uuid import UUID

_REGISTERED = "1.2.840.10008."  # the standard's own: classes, syntaxes, well-known frames


class UidMap:
    """Maps UIDs to new ones, so that what belonged together still does.

    The new UID is made from a keyed hash (HMAC-SHA256) of the old one. Without the key nobody
    can tell which old UID a new one came from, not even with a list of all old ones.

    Args:
        key: The same key maps alike in another process; default a random one.
    """

    def __init__(self, key: bytes | None = None) -> None:
        self._key = secrets.token_bytes(32) if key is None else key

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
