"""Aligning pseudo-pairs once more, to what all of them together expect of each scan.

Edges alone tell a sulcus from a vessel badly. A small generator that learns from all pairs, each
wrong in another place, expects what they have in common; a style volume that is deformed towards
its expectation, and still towards the scan's edges, is right in more places than before. What the
small generator is, is forgotten after that.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medstyle_gan.config.data_section import DataConfig
from medstyle_gan.config.network_sections import ResNetGeneratorConfig
from medstyle_gan.data.cache_files import entry_lock
from medstyle_gan.data.cached_foreground import array_and_foreground
from medstyle_gan.data.cached_volume import CachedCollection, CachedVolume
from medstyle_gan.data.displacement import Array, composed, displaced
from medstyle_gan.data.local_alignment import ALIGNMENT_VERSION, align_locally
from medstyle_gan.data.pair_cache import read_record, write_array, write_record
from medstyle_gan.data.pseudo_pairs import PseudoPair, PseudoPairs, style_on_scan
from medstyle_gan.data.sampling import UnpairedDataset
from medstyle_gan.data.slices import from_slices
from medstyle_gan.losses import low_pass_l1
from medstyle_gan.losses.structure import gradient_correlation
from medstyle_gan.networks import build_generator
from medstyle_gan.networks.precision import Precision

# Part of every key: raise it when the same pairs come to be refined otherwise.
_VERSION = 2
_WIDTH, _BLOCKS = 16, 4
_STEPS, _BATCH, _RATE = 800, 2, 1e-3
# Weight of 1 - correlation of edges, as a warm start's own.
_STRUCTURE = 0.2
_DECAY = 0.99
# Larger slices are learned from in parts.
_LARGEST = 160


def refine_pseudo_pairs(
    pairs: PseudoPairs,
    scan: CachedCollection,
    style: CachedCollection,
    config: DataConfig,
    folder: Path,
    seed: int,
    precision: Precision = "fp32",
    on_progress: Callable[[int, int], None] | None = None,
) -> PseudoPairs:
    """Deform the style volumes of pseudo-pairs towards what all pairs expect, and cache them.

    The same pairs, settings, seed and machine give the same. It takes about a minute, and some
    seconds a pair.

    Args:
        pairs: registered, see `make_pseudo_pairs`.
        scan: the scans that they are of.
        style: the style volumes that they are of.
        config: plane, sampler and augmentation are used.
        folder: the cache.
        seed: of what the small generator begins with and sees.
        precision: of its convolutions.
        on_progress: called with (steps and pairs done, steps and pairs in all).
    """
    drawn = [part.model_dump(mode="json") for part in (config.sampler, config.augmentation)]
    facts = [_VERSION, ALIGNMENT_VERSION, seed, precision, config.plane, *drawn]
    stems = [pair.style.path.stem for pair in pairs.kept]
    text = json.dumps([*facts, stems, [pair.scan.path.stem for pair in pairs.kept]])
    key = hashlib.sha256(text.encode()).hexdigest()
    files = [
        [folder / f"{key}.{number}.{part}.npy" for part in ("style", "weight")]
        for number in range(len(pairs.kept))
    ]
    records = [folder / f"{key}.{number}.pair.json" for number in range(len(files))]

    def there() -> bool:
        found = zip(records, files, strict=True)
        return all(read_record(record, dict.fromkeys(paths, 4)) for record, paths in found)

    if not there():
        with entry_lock(folder, key):
            if not there():  # another run may have made it while this one waited
                _make(pairs, scan, style, config, files, seed, precision, on_progress)
                for pair, record, paths in zip(pairs.kept, records, files, strict=True):
                    write_record(record, {"shape": list(pair.scan.shape)}, paths)
    kept = tuple(
        replace(
            pair,
            style=replace(pair.style, path=paths[0], _loaded={}),
            weight=replace(pair.weight, path=paths[1], _loaded={}),
            displacement=None,
        )
        for pair, paths in zip(pairs.kept, files, strict=True)
    )
    return replace(pairs, kept=kept)


def _make(
    pairs: PseudoPairs,
    scan: CachedCollection,
    style: CachedCollection,
    config: DataConfig,
    files: list[list[Path]],
    seed: int,
    precision: Precision,
    on_progress: Callable[[int, int], None] | None,
) -> None:
    """Learn, then align each pair and write its arrays."""
    in_all = _STEPS + len(pairs.kept)

    def told(done: int) -> None:
        if on_progress:
            on_progress(done, in_all)

    samples = UnpairedDataset(
        scan,
        style,
        _slices_of(config, pairs),
        seed,
        length=_STEPS * _BATCH,
        pseudo_pairs=pairs,
        warm_samples=_STEPS * _BATCH,
    )
    generator = _learned(samples, seed, precision, told)
    for number, (pair, paths) in enumerate(zip(pairs.kept, files, strict=True), start=1):
        refined = _refined(pair, generator, config.plane, precision)
        for path, array in zip(paths, refined, strict=True):
            write_array(path, array, config.plane)
        told(_STEPS + number)


def _slices_of(config: DataConfig, pairs: PseudoPairs) -> DataConfig:
    """The same data in two dimensions, whole slices where they are not too large."""
    shapes = [pair.scan.shape[2:] for pair in pairs.kept]
    size = tuple(min(_LARGEST, -(-max(side) // 8) * 8) for side in zip(*shapes, strict=True))
    return config.model_copy(update={"dims": 2, "sample_size": size})


def _learned(
    samples: UnpairedDataset, seed: int, precision: Precision, told: Callable[[int], None]
) -> nn.Module:
    """A small generator that translates scans into style, the average of its last weights."""
    first = samples[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator = build_generator(
            ResNetGeneratorConfig(ngf=_WIDTH, blocks=_BLOCKS),
            len(first["scan"]),
            len(first["style"]),
        )
    average = [p.detach().clone() for p in generator.parameters()]
    optimizer = torch.optim.Adam(generator.parameters(), lr=_RATE, betas=(0.5, 0.999))
    for step in range(_STEPS):
        batch = [samples[step * _BATCH + number] for number in range(_BATCH)]
        scan, style, weight = (
            torch.stack([sample[name] for sample in batch]) for name in ("scan", "style", "weight")
        )
        for group in optimizer.param_groups:  # falls in the second half
            group["lr"] = _RATE * min(1.0, 2 * (1 - step / _STEPS))
        made = _translated(generator, scan, precision)
        loss = low_pass_l1(made, style, 0.0, weight)
        grey = made.mean(1, keepdim=True), scan.mean(1, keepdim=True)
        loss = loss + _STRUCTURE * gradient_correlation(*grey, weight > 0.5)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay = min(_DECAY, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, value in zip(average, generator.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)
        told(step + 1)
    with torch.no_grad():
        for mean, value in zip(average, generator.parameters(), strict=True):
            value.copy_(mean)
    return generator.eval()


def _translated(generator: nn.Module, images: Tensor, precision: Precision) -> Tensor:
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bf16"):
        made: Tensor = generator(images)
    return made.float()


def _refined(
    pair: PseudoPair, generator: nn.Module, plane: str, precision: Precision
) -> tuple[Array, Array]:
    """The style volume (C, X, Y, Z) and the weight (1, X, Y, Z) after one more deformation."""
    fixed, body = array_and_foreground(pair.scan, plane)
    channels, weight = (
        np.array(from_slices(volume.slices[:, : volume.shape[1]], plane), dtype=np.float32)
        for volume in (pair.style, pair.weight)
    )
    compared = body & (weight[0] > 0.5)
    if not compared.any():
        return channels, weight
    assert pair.displacement is not None, "the pair is refined already"
    expected = from_slices(_volume(pair.scan, generator, precision), plane).mean(axis=0)
    spacing = pair.scan.spacing
    further = align_locally(fixed, channels.mean(axis=0), compared, spacing, expected)
    before = np.ascontiguousarray(from_slices(np.load(pair.displacement), plane))
    channels = style_on_scan(pair.source, composed(further, before, spacing), plane, spacing)
    shares = displaced(weight[0], spacing, further, spacing, 0.0, cubic=False)
    return channels, (shares > 0.5).astype(np.float32)[None]


def _volume(scan: CachedVolume, generator: nn.Module, precision: Precision) -> np.ndarray:
    """(N, C, H, W): every slice of a scan, translated."""
    height, width = scan.shape[2:]
    pads = (0, -width % 8, 0, -height % 8)
    made = []
    with torch.inference_mode():
        for index in range(len(scan)):
            image = torch.from_numpy(np.array(scan.read(index), dtype=np.float32))[None]
            padded = F.pad(image, pads, value=scan.fill)
            made.append(_translated(generator, padded, precision)[0, :, :height, :width])
    return torch.stack(made).numpy()
