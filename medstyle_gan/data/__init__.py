"""Collections of volumes and pictures, and the samples that networks are trained on."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medstyle_gan.data.cache import prepare_collection as prepare_collection
    from medstyle_gan.data.cached_volume import CachedCollection as CachedCollection
    from medstyle_gan.data.cached_volume import CachedVolume as CachedVolume
    from medstyle_gan.data.collection import Collection as Collection
    from medstyle_gan.data.collection import Item as Item
    from medstyle_gan.data.collection import find_collection as find_collection
    from medstyle_gan.data.datamodule import UnpairedDataModule as UnpairedDataModule
    from medstyle_gan.data.intensity import INTENSITY_SCALES as INTENSITY_SCALES
    from medstyle_gan.data.intensity import FittedScale as FittedScale
    from medstyle_gan.data.preprocessing import Prepared as Prepared
    from medstyle_gan.data.preprocessing import prepare_picture as prepare_picture
    from medstyle_gan.data.preprocessing import prepare_volume as prepare_volume
    from medstyle_gan.data.preprocessing import restore_array as restore_array
    from medstyle_gan.data.words import Domain as Domain

# Resolved on first use: finding files needs neither MONAI nor Lightning (seconds to import).
_HOME = {
    "CachedCollection": "cached_volume",
    "CachedVolume": "cached_volume",
    "Collection": "collection",
    "Domain": "words",
    "FittedScale": "intensity",
    "INTENSITY_SCALES": "intensity",
    "Item": "collection",
    "Prepared": "preprocessing",
    "UnpairedDataModule": "datamodule",
    "find_collection": "collection",
    "prepare_collection": "cache",
    "prepare_picture": "preprocessing",
    "prepare_volume": "preprocessing",
    "restore_array": "preprocessing",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
