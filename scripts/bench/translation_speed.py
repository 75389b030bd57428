"""Part `speed`: a volume through our translation, a plain loop and MONAI's inferers."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from monai.inferers import SliceInferer, SlidingWindowInferer
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.command import median_ratio
from bench.machine import synchronize
from bench.settings import bench_device
from medstyle_gan.config import Config
from medstyle_gan.config.data_section import FixedScale, IntensityConfig
from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.data.words import DIRECTIONS
from medstyle_gan.inference import Bundle, Translator, joined_state
from medstyle_gan.networks import build_generator
from medstyle_gan.volumes import Geometry, Volume

OURS, PLAIN = "ours", "plain loop, fp32"
MONAI_SLICES, MONAI_WINDOWS = "MONAI slices", "MONAI windows"
_SCALE = FittedScale(center=500.0, half_range=500.0, clip=False)


def measure_speed(
    config: Config,
    sizes: Sequence[tuple[int, ...]],
    slices: int,
    rounds: int,
    machine: dict[str, Any],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Seconds for a part of each volume, in turns so that the machine's moods hit all alike.

    Args:
        config: settings; the generator's and `inference` count.
        sizes: (X, Y, Z) of the volumes.
        slices: how many of Z's slices are translated; each costs the same.
        rounds: turns of each contender; one more comes first and is not counted.
        machine: as `describe_machine` gives it.
        say: takes a line of progress.
    """
    translator = make_translator(config, sizes[0])
    generator = make_generator(config).to(translator.device)
    parts, ratios = [], []
    for size in sizes:
        volume = make_volume((*size[:2], min(slices, size[2])))
        runs = _contenders(translator, generator, volume)
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        names = list(runs)
        for turn in range(rounds + 1):
            say(f"speed: {_shown(size)}, round {turn} of {rounds}" + ("" if turn else " (warm-up)"))
            first = turn % len(names)
            for name in (*names[first:], *names[:first]):
                taken = _seconds(runs[name], translator.device)
                if turn:
                    seconds[name].append(taken)
        median = {name: statistics.median(values) for name, values in seconds.items()}
        faster = min(MONAI_SLICES, MONAI_WINDOWS, key=lambda name: median[name])
        count = volume.array.shape[2]
        flops = count * slice_flops(generator, size[:2])
        rate = flops / median[OURS] / 1e9
        gemm = machine["gemm_gflops"][translator.precision]
        parts.append(
            {
                "size": list(size),
                "slices": count,
                "seconds_per_slice": {n: round(s / count, 4) for n, s in median.items()},
                "seconds_for_the_volume": {
                    n: round(s / count * size[2], 2) for n, s in median.items()
                },
                "tflop_per_volume": round(flops / count * size[2] / 1e12, 3),
                "gflops": round(rate, 1),
            }
        )
        ratios += [
            median_ratio(f"ours / plain loop, {_shown(size)}", seconds[OURS], seconds[PLAIN], 0.4),
            median_ratio(f"ours / {faster}, {_shown(size)}", seconds[OURS], seconds[faster], 0.6),
            {
                "name": f"share of GEMM {translator.precision}, {_shown(size)}",
                "value": round(rate / gemm, 3),
                "target": 0.6,
                "at_least": True,
            },
        ]
    return {
        "generator": config.generator.model_dump(mode="json"),
        "precision": translator.precision,
        "batch_size": config.inference.batch_size,
        "volumes": parts,
        "ratios": ratios,
    }


def make_translator(config: Config, size: Sequence[int]) -> Translator:
    """A translator of random weights whose samples are slices of that size."""
    low, high = (_SCALE.center + side * _SCALE.half_range for side in (-1, 1))
    scale = FixedScale(lower=low, upper=high, clip=_SCALE.clip)
    data = config.data.model_copy(
        update={
            "spacing": (None, None, None),
            "sample_size": tuple(size[:2]),
            "intensity": IntensityConfig(scan=scale, style=scale),
        }
    )
    bundle = Bundle(
        config=config.model_copy(update={"data": data}),
        state=joined_state({d: make_generator(config).state_dict() for d in DIRECTIONS}),
        scales={"scan": _SCALE, "style": _SCALE},
        channels={"scan": 1, "style": 1},
        integer={"scan": True, "style": True},
        background={"scan": 0.0, "style": 0.0},
        steps=0,
    )
    # Loaded as a user loads it: with all that makes it faster than the network of the training.
    return Translator.load(bundle, str(bench_device(config)), config.training.precision)


def make_generator(config: Config) -> nn.Module:
    """The network of a training, with seeded random weights, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_generator(config.generator, 1, 1, 2).eval()


def make_volume(shape: tuple[int, ...]) -> Volume:
    """A seeded int16 volume that is body but for a border."""
    rng = np.random.default_rng(0)
    array = np.zeros(shape, dtype=np.int16, order="F")
    border = [max(1, n // 16) for n in shape[:2]]
    inner = tuple(slice(b, n - b) for b, n in zip(border, shape[:2], strict=True))
    for z in range(shape[2]):
        plane = array[..., z]
        plane[inner] = rng.normal(600, 100, plane[inner].shape).clip(300, 1000)
    return Volume(array, Geometry.from_affine(shape, np.eye(4)), np.dtype(np.int16), True)


def slice_flops(generator: nn.Module, size: Sequence[int]) -> int:
    """Floating-point operations of one slice in the plain network, counted by torch."""
    like = copy.deepcopy(generator).cpu()
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        like(torch.zeros(1, 1, *size))
    return int(counter.get_total_flops())


def profile_translation(config: Config, size: tuple[int, ...], slices: int) -> str:
    """Torch's table of the ten operations that take most of our translation."""
    translator = make_translator(config, size)
    volume = make_volume((*size[:2], min(slices, size[2])))
    translator.translate(volume)
    activities = [torch.profiler.ProfilerActivity.CPU]
    on_gpu = translator.device.type == "cuda"
    if on_gpu:
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profiler:
        translator.translate(volume)
    order = f"self_{'cuda' if on_gpu else 'cpu'}_time_total"
    return profiler.key_averages().table(sort_by=order, row_limit=10)


def speed_lines(result: dict[str, Any]) -> list[str]:
    """The result as lines to print."""
    generator = result["generator"]
    shape = ", ".join(f"{key} {value}" for key, value in generator.items() if key != "name")
    names = (OURS, PLAIN, MONAI_SLICES, MONAI_WINDOWS)
    lines = [
        f"translation ({generator['name']}: {shape}; ours in {result['precision']}, batches of "
        f"{result['batch_size']})",
        f"  {'seconds a slice':24}" + "".join(f"{name:>20}" for name in names),
    ]
    for part in result["volumes"]:
        values = part["seconds_per_slice"]
        row = "".join(f"{values[name]:20.4f}" for name in names)
        lines.append(f"  {_shown(part['size']):24}{row}   {part['gflops']:.0f} GFLOP/s")
    return lines


def _contenders(
    translator: Translator, generator: nn.Module, volume: Volume
) -> dict[str, Callable[[], object]]:
    device = translator.device
    unit = torch.from_numpy(_SCALE.to_unit(volume.array))[None, None]  # (1, 1, X, Y, Z)
    options: dict[str, Any] = {
        "sw_batch_size": translator.config.inference.batch_size,
        "sw_device": device,
        "device": torch.device("cpu"),
    }
    size = tuple(unit.shape[2:4])
    slices = SliceInferer(roi_size=size, spatial_dim=2, **options)
    # Windows of one slice each, of which a batch holds several.
    windows = SlidingWindowInferer(roi_size=(*size, 1), overlap=0, **options)

    def plain() -> torch.Tensor:
        with torch.inference_mode():
            return torch.stack(
                [
                    generator(unit[..., z].contiguous().to(device)).cpu()
                    for z in range(unit.shape[-1])
                ],
                dim=-1,
            )

    def with_slices() -> object:
        with torch.inference_mode():
            return slices(unit, generator)

    def with_windows() -> object:
        with torch.inference_mode():
            return windows(unit, lambda batch: generator(batch[..., 0])[..., None])

    return {
        OURS: lambda: translator.translate(volume),
        PLAIN: plain,
        MONAI_SLICES: with_slices,
        MONAI_WINDOWS: with_windows,
    }


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    synchronize(device)
    began = time.perf_counter()
    work()
    synchronize(device)
    return time.perf_counter() - began


def _shown(size: Sequence[int]) -> str:
    return "x".join(map(str, size))
