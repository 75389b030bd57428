"""Preprocess a collection into the cache, once, and open it from there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.data.cache_entry import open_entry
from medstyle_gan.data.cache_files import CacheError, cache_folder, open_cache_folder
from medstyle_gan.data.cached_volume import CachedCollection, CachedVolume
from medstyle_gan.data.collection import Collection
from medstyle_gan.data.content_index import ContentIndex
from medstyle_gan.data.words import Domain
from medstyle_gan.errors import UserError

__all__ = ["CachedCollection", "CachedVolume", "cache_folder", "prepare_collection"]


def prepare_collection(
    collection: Collection,
    config: DataConfig,
    domain: Domain,
    on_progress: Callable[[int, int], None] | None = None,
    masks: bool = False,
) -> CachedCollection:
    """Preprocess a collection into the cache, one volume at a time, and open it.

    A volume's key is the SHA-256 of its file's bytes, the settings that preprocessing uses
    and the format's version. Files take their names only when complete, so that runs can
    share a folder; neither paths nor subjects are written.

    Args:
        collection: the files.
        config: its `spacing`, `plane`, intensity scale (pictures: `sample_size`) and `cache`.
        domain: `scan` or `style`.
        on_progress: called with (files done, files in all).
        masks: with each volume's `mask`; what the cache has without is prepared again.

    Raises:
        UserError: the collection is empty, files are unusable (all are named, with the
            reason), or the cache folder cannot be written.
    """
    if not len(collection):
        raise UserError(f"the {domain} collection ({collection.source}) is empty")
    folder = cache_folder(config.cache)
    open_cache_folder(folder)
    index = ContentIndex(folder / "index")
    volumes: list[CachedVolume] = []
    unusable: list[str] = []
    for done, item in enumerate(collection, start=1):
        try:
            content = index.hash_of(item.path)
            volumes.append(open_entry(item, content, config, domain, folder, masks))
        except CacheError:
            raise
        except UserError as error:
            message = str(error)
            unusable.append(message if item.path.name in message else f"{item.path}: {message}")
        if on_progress:
            on_progress(done, len(collection))
    if unusable:
        none = " (no volume is readable)" if not volumes else ""
        raise UserError(
            f"{len(unusable)} of {len(collection)} {domain} files cannot be used{none}; repair "
            "or remove them, or give a list without them:\n  " + "\n  ".join(unusable)
        )
    channels = max(volume.shape[1] for volume in volumes)
    return CachedCollection((replace(v, channels=channels) for v in volumes), domain)
