"""Parts `feedforward` and `adain`: pictures a second at several sizes, and slices of a volume.

Networks have seeded random weights, which cost what trained ones do. A picture goes through all
four steps but the style's, which is encoded once; a volume goes through `stylize`, with all that
is done around a transfer.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.gatys_time import pictures
from medstyle_gan.config import load_config
from medstyle_gan.config.method_section import AdainConfig
from medstyle_gan.data.intensity import FittedScale
from medstyle_gan.inference import Bundle
from medstyle_gan.inference.stylizer import build_style_transfer
from medstyle_gan.inference.stylizing import stylize
from medstyle_gan.methods import StyleReference
from medstyle_gan.methods.adain import decoder_channels
from medstyle_gan.networks import AdaINDecoder, build_generator
from medstyle_gan.volumes import Geometry, Picture, Volume

_CHANNELS = {"scan": 1, "style": 3}
_SCALE = FittedScale(center=500.0, half_range=500.0, clip=False)


def measure_learned(
    name: str,
    overrides: Sequence[str],
    sizes: Sequence[int],
    slices: int,
    rounds: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Time a learned style transfer; the first run of each size is not counted.

    Args:
        name: of the method.
        overrides: the user's `key.path=value`.
        sizes: sides of the pictures; the volume's slices have the first.
        slices: of the volume.
        rounds: runs of each that are counted.
        say: takes a line of progress.

    Returns:
        What was measured, for the table and for JSON.

    Raises:
        UserError: the overrides have mistakes.
    """
    bundle = untrained(name, overrides)
    device = torch.device("cpu")
    transfer: Any = build_style_transfer(bundle.config, device, bundle)
    result: dict[str, Any] = {
        "precision": transfer.precision,
        "parameters": sum(bundle.parameters.values()),
        "rounds": rounds,
        "pictures": {},
    }
    for size in sizes:
        content, style = pictures(size)
        began = time.perf_counter()
        look = transfer.encode_style([StyleReference([style])])
        style_seconds = time.perf_counter() - began

        def once(content: torch.Tensor = content, look: Any = look) -> None:
            transfer.decode(transfer.transfer(transfer.encode_content(content), look))

        say(f"{name}: {size}x{size}, {rounds} rounds")
        seconds = _seconds(once, rounds)
        result["pictures"][str(size)] = {
            "pictures_per_second": round(1 / statistics.median(seconds), 4),
            "milliseconds": [round(1e3 * value, 1) for value in seconds],
            "style_milliseconds": round(1e3 * style_seconds, 1),
        }
    volume, style_picture = _volume(sizes[0], slices), _picture(sizes[0])
    styles = [style_picture] if transfer.takes_style else []
    say(f"{name}: a volume of {sizes[0]}x{sizes[0]}x{slices}")
    seconds = _seconds(lambda: stylize(volume, styles, bundle.config, model=bundle), 1)
    result["volume"] = {
        "shape": list(volume.array.shape),
        "seconds": round(seconds[0], 3),
        "slices_per_second": round(slices / seconds[0], 4),
    }
    return result


def learned_lines(name: str, result: dict[str, Any]) -> list[str]:
    """The figures of a method as lines of a table."""
    lines = [f"{name} ({result['parameters']:,} parameters, {result['precision']}):"]
    for size, figures in result["pictures"].items():
        lines.append(
            f"  {size + ' x ' + size:14} {figures['pictures_per_second']:9.2f} pictures/s"
            f"  (style encoded once: {figures['style_milliseconds']:.0f} ms)"
        )
    volume = result["volume"]
    shape = " x ".join(map(str, volume["shape"]))
    lines.append(f"  {'volume':14} {volume['slices_per_second']:9.2f} slices/s  ({shape})")
    return lines


def untrained(name: str, overrides: Sequence[str]) -> Bundle:
    """A model of a method whose weights are as they were drawn.

    Raises:
        UserError: the overrides have mistakes.
    """
    options = {"method.name": name, "vgg.weights": "random:0"}
    config = load_config(None, overrides, options=options)
    torch.manual_seed(0)
    network: torch.nn.Module
    if isinstance(config.method, AdainConfig):
        network = AdaINDecoder(decoder_channels(_CHANNELS), config.method.width)
        prefix = "decoder"
    else:
        network = build_generator(config.generator, *_CHANNELS.values())
        prefix = "scan_to_style"
    return Bundle(
        config=config,
        state={f"{prefix}.{key}": value for key, value in network.state_dict().items()},
        channels=dict(_CHANNELS),
        scales=dict.fromkeys(_CHANNELS, _SCALE),
        integer={"scan": True, "style": True},
        background={"scan": 0.0, "style": 0.0},
        steps=0,
    )


def _seconds(once: Callable[[], object], rounds: int) -> list[float]:
    seconds = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        once()
        seconds.append(time.perf_counter() - began)
    return seconds[1:]


def _picture(size: int) -> Picture:
    _, style = pictures(size)
    values = ((style[0] + 1) * 127.5).round().to(torch.uint8)
    return Picture(np.ascontiguousarray(values.permute(1, 2, 0).numpy()), 255, Path("style.png"))


def _volume(size: int, slices: int) -> Volume:
    """All body: every slice is stylised."""
    content, _ = pictures(size)
    plane = ((content[0, 0].numpy() + 1.5) * 400).astype(np.int16)
    array = np.repeat(plane[..., None], slices, axis=2) + np.arange(slices, dtype=np.int16)
    return Volume(array, Geometry.from_affine(array.shape, np.eye(4)), array.dtype, True)
