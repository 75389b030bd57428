"""Mean Gram matrices kept in the data cache: a training that starts again need not make them."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open

from medstyle_gan.data.cache_files import CacheError, cache_file, entry_lock
from medstyle_gan.methods.vgg_regularizer import Grams

# Part of every key: raise it when the same facts come to mean other values.
_FORMAT_VERSION = 1
# Entries that stay, those used last: at about 5 MB each they take less than some volumes.
_KEPT = 32
_KEY = re.compile(r"[0-9a-f]{64}")


def grams_of(
    facts: dict[str, Any], folder: Path, make: Callable[[], dict[str, Grams]]
) -> dict[str, Grams]:
    """Take mean Gram matrices from the cache, or make them and keep them there.

    What is read is bit for bit what was made. An entry that is damaged is made again. The key
    is the facts' SHA-256 and the file holds matrices only: no path and no name. Of many entries
    those that were used last stay.

    Args:
        facts: all that the values depend on, as JSON takes it.
        folder: the data cache.
        make: gives domain → layer → `(C, C)` in fp32.

    Returns:
        What `make` gives, on the CPU where it was read.
    """
    text = json.dumps([_FORMAT_VERSION, torch.__version__, facts], sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()
    path = folder / f"{key}.safetensors"
    grams = _read(path)
    if grams is not None:
        return grams
    # Where the folder cannot be written, each start takes some seconds longer, nothing else:
    # a read-only cache of volumes that are all there is no reason to stop.
    with suppress(CacheError), entry_lock(folder, key):
        grams = _read(path)  # another run may have made it while this one waited
        if grams is None:
            grams = make()
            _write(path, grams)
            _remove_old(folder)
    return make() if grams is None else grams


def _read(path: Path) -> dict[str, Grams] | None:
    """The entry's matrices; None where it is absent or not as it was written."""
    try:
        with safe_open(path, "pt") as file:
            # Copied: they must not hang on a mapped file.
            flat = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            digest = (file.metadata() or {}).get("sha256")
    except (OSError, SafetensorError):
        return None
    if digest != _digest(flat):
        return None
    with suppress(OSError):  # another's cache, which may be read and not written
        os.utime(path)
    grams: dict[str, Grams] = {}
    for name, matrix in flat.items():
        domain, _, layer = name.partition(".")
        grams.setdefault(domain, {})[layer] = matrix
    return grams


def _write(path: Path, grams: dict[str, Grams]) -> None:
    flat = {
        f"{domain}.{layer}": matrix.cpu().contiguous()
        for domain, mine in grams.items()
        for layer, matrix in mine.items()
    }
    with cache_file(path) as file:
        file.write(safetensors.torch.save(flat, {"sha256": _digest(flat)}))


def _remove_old(folder: Path) -> None:
    """Remove what was used longest ago; a run that is reading it has it open and goes on."""
    used: dict[Path, int] = {}
    for path in folder.glob("*.safetensors"):
        if _KEY.fullmatch(path.stem):  # the folder may hold what is not ours
            with suppress(OSError):  # another run may remove it meanwhile
                used[path] = path.stat().st_mtime_ns
    for path in sorted(used, key=used.__getitem__, reverse=True)[_KEPT:]:
        with suppress(OSError):
            path.unlink()


def _digest(flat: Grams) -> str:
    total = hashlib.sha256()
    for name in sorted(flat):
        total.update(name.encode())
        total.update(flat[name].numpy().tobytes())
    return total.hexdigest()
