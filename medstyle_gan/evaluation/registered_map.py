"""Where the registered intensity map of a model comes from: its training, or one made now."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medstyle_gan.config import Config, load_config
from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.config.warm_start_section import WarmStartConfig
from medstyle_gan.data.cache import prepare_collection
from medstyle_gan.data.cache_files import cache_folder
from medstyle_gan.data.cached_volume import CachedCollection
from medstyle_gan.data.collection import find_collection
from medstyle_gan.data.datamodule import UnpairedDataModule
from medstyle_gan.data.intensity_map import IntensityMap, learn_intensity_map
from medstyle_gan.data.pseudo_pairs import make_pseudo_pairs
from medstyle_gan.errors import UserError
from medstyle_gan.evaluation.material import Paths
from medstyle_gan.inference.bundles.bundle import Bundle

OPTION = "--registered-map"


@dataclass(frozen=True)
class RegisteredMap:
    """The map, or why there is none.

    Attributes:
        learned: None where it stands beside nothing.
        origin: `training`, `made` or `none`, for the report's provenance.
        note: a sentence for the report.
    """

    learned: IntensityMap | None
    origin: str
    note: str


def registered_map(
    bundle: Bundle,
    model: str | Path,
    make: bool = False,
    scans: Paths | None = None,
    style: Paths | None = None,
    data: DataConfig | None = None,
) -> RegisteredMap:
    """The model's own map, else one that is made where that is wanted.

    It is made of the collections that the model's run names, as its training would see them,
    and where that is no run, of the two that are given. Registrations take about 10 s each and
    are cached.

    Args:
        bundle: the model.
        model: where it is.
        make: make one for a model that has none.
        scans: a collection of scans, or None.
        style: a style collection, or None.
        data: how given collections are prepared; None is as the model says.

    Raises:
        UserError: one is wanted and cannot be made.
    """
    if bundle.intensity_map is not None:
        return RegisteredMap(
            bundle.intensity_map,
            "training",
            "The registered intensity map was learned from the pseudo-pairs of the training's warm "
            "start and came with the model.",
        )
    if not make:
        return RegisteredMap(
            None,
            "none",
            "No registered intensity map stands beside these figures: the model brings none, as it "
            "had no warm start on registered scans or was trained by an earlier version. "
            f"{OPTION} makes one.",
        )
    given = scans is not None and style is not None
    try:
        found = _of_run(Path(model), optional=given)
        if found is None and scans is not None and style is not None:
            found = _of_collections(scans, style, data or bundle.config.data)
    except UserError as error:
        raise UserError(
            f"{OPTION} registers scans as a warm start does, and cannot: {error}; "
            f"or leave {OPTION} out"
        ) from error
    if found is None:
        raise UserError(
            f"{OPTION}: {model} is no run that names its collections, and --scans and --style are "
            f"not both given; give both, or leave {OPTION} out"
        )
    learned, count, whose = found
    if learned is None:
        raise UserError(
            f"{OPTION}: no voxel of {count} registered scans lies in both bodies; leave it out"
        )
    return RegisteredMap(
        learned,
        "made",
        f"The registered intensity map was learned for this report from {count} pseudo-pairs of "
        f"{whose}.",
    )


_Found = tuple[IntensityMap | None, int, str]


def _of_run(run: Path, optional: bool) -> _Found | None:
    """From what a run was trained on; None where it is no run that names its collections.

    Args:
        run: its folder.
        optional: give None also where they are not to be found any more.
    """
    path = run / "config.yaml"
    if not path.is_file():
        return None
    config = load_config(path)
    if not (config.data.scans and config.data.style):
        return None
    collections = UnpairedDataModule(config)
    try:
        collections.prepare_data()
    except UserError:
        if optional:
            return None
        raise
    collections.setup()
    learned = _learn(collections.scan, collections.style, config)
    return (*learned, "the collections that it was trained on")


def _of_collections(scans: Paths, style: Paths, data: DataConfig) -> _Found:
    pattern = data.subject_pattern
    scan_volumes = prepare_collection(find_collection(scans, pattern), data, "scan")
    style_volumes = prepare_collection(find_collection(style, pattern), data, "style")
    learned = _learn(scan_volumes, style_volumes, Config(data=data))
    return (*learned, "the scans that are evaluated and the style collection")


def _learn(
    scan: CachedCollection, style: CachedCollection, config: Config
) -> tuple[IntensityMap | None, int]:
    start = config.training.warm_start
    settings = start if isinstance(start, WarmStartConfig) else WarmStartConfig()
    data = config.data
    folder = cache_folder(data.cache)
    pairs = make_pseudo_pairs(scan, style, settings, data.plane, folder, config.training.seed)
    return learn_intensity_map(pairs, data.plane), len(pairs.kept)
