"""Real scans with less contrast than they were acquired with, and their tissues, estimated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter
from skimage.filters import threshold_multiotsu

from medstyle_gan.data.foreground import foreground_mask
from medstyle_gan.data.phantom import PhantomFolders, Tissue
from medstyle_gan.errors import UserError
from medstyle_gan.volumes import Volume, read_volume, write_volume

# The two visits of patient 1 become low-contrast scans; the others stay as they are, the style.
_SCANS = "patient01"
_PAIRS = "patient12"
_GAMMA, _NOISE, _BLUR = 0.5, 0.04, 0.6
# Below the skin there is brain only from here on (mm), in slices about as large as the largest.
_DEPTH, _SHARE_OF_LARGEST = 20.0, 0.7


def write_openms_collections(openms: Path, folder: Path) -> PhantomFolders:
    """Writes low-contrast scans, a style collection and pairs with labels, of T1-weighted MR.

    Scans and style are of different patients, and those of the pairs of yet another.

    Args:
        openms: The folder with `scans_T1` and `val_pairs`.
        folder: Where to; made if missing.

    Raises:
        UserError: The volumes are not there.
    """
    made = PhantomFolders(folder / "scans", folder / "style", folder / "pairs")
    volumes = sorted((openms / "scans_T1").glob("*.nii*"))
    pairs = sorted((openms / "val_pairs").glob(f"{_PAIRS}*"))
    if not volumes or not pairs:
        raise UserError(f"{openms}: holds no scans_T1 and val_pairs; give the openms folder")
    for seed, path in enumerate(volumes):
        volume = read_volume(path)
        low = path.name.startswith(_SCANS)
        array = lower_contrast(volume, seed) if low else np.asarray(volume.array)
        where = made.scans if low else made.style
        write_volume(where / path.name, array, volume.geometry, np.uint16)
    for seed, pair in enumerate(pairs, start=len(volumes)):
        contrasts = {name: read_volume(_one(pair, name)) for name in ("T1W", "T2W", "mask")}
        truth = contrasts["T1W"]
        place = made.pairs / pair.name
        for name, array, dtype in (
            ("scan", lower_contrast(truth, seed), np.uint16),
            ("style", np.asarray(truth.array), np.uint16),
            ("mask", np.asarray(contrasts["mask"].array), np.uint8),
            ("labels", estimate_tissues(**contrasts), np.uint8),
        ):
            write_volume(place / f"{name}.nii.gz", array, truth.geometry, dtype)
    return made


def lower_contrast(volume: Volume, seed: int) -> NDArray[np.float32]:
    """What a scanner with less contrast and more noise might have seen.

    Intensities from the head's darkest percentile to its brightest are raised to the power of 0.5,
    which brings the brain's tissues together, blurred by 0.6 pixels and given the Rician noise of
    a magnitude image, of 4 % of the range.
    """
    array = np.asarray(volume.array, np.float32)
    low, high = np.percentile(array[foreground_mask(array)], (0.5, 99.5))
    unit = ((array - min(low, 0)) / (high - min(low, 0))).clip(0, None) ** _GAMMA
    unit = gaussian_filter(unit, (_BLUR, _BLUR, 0))
    rng = np.random.Generator(np.random.Philox(seed))
    noise = _NOISE * rng.standard_normal((2, *unit.shape), dtype=np.float32)
    return (np.hypot(unit + noise[0], noise[1]) * high).astype(np.float32)


def estimate_tissues(T1W: Volume, T2W: Volume, mask: Volume) -> NDArray[np.uint8]:
    """Fluid, grey and white matter where two contrasts agree, as labels of `Tissue`.

    Each contrast is cut into three classes of intensity (multi-level Otsu, Liao et al. 2001), deep
    enough in the head that there is only brain: fluid is darkest in T1 and brightest in T2, white
    matter the other way round. Where the two disagree there is no label. No ground truth, but it
    knows nothing of what is compared by it.
    """
    inside = np.asarray(mask.array) > 0
    deep = distance_transform_edt(inside, sampling=T1W.geometry.spacing[:3]) > _DEPTH
    area = inside.sum(axis=(0, 1))
    deep &= area >= _SHARE_OF_LARGEST * area.max()
    levels = []
    for volume in (T1W, T2W):
        array = np.asarray(volume.array, np.float32)
        levels.append(np.digitize(array, threshold_multiotsu(array[deep], classes=3)))
    labels = np.zeros(inside.shape, np.uint8)
    order = (Tissue.CSF, Tissue.GREY_MATTER, Tissue.WHITE_MATTER)
    for level, tissue in enumerate(order):
        labels[deep & (levels[0] == level) & (levels[1] == 2 - level)] = tissue
    return labels


def _one(folder: Path, name: str) -> Path:
    found = sorted(folder.glob(f"{name}.nii*"))
    if not found:
        raise UserError(f"{folder}: holds no {name}.nii.gz; copy the openms folder again")
    return found[0]
