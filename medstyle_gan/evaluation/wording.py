"""How metrics, candidates and numbers are written for readers."""

from __future__ import annotations

import math
from collections.abc import Mapping

_TITLES = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "ms_ssim": "MS-SSIM",
    "mae": "MAE (share of range)",
    "mae_native": "MAE",
    "mae_hu": "MAE (SynthRAD)",
    "psnr_hu": "PSNR (SynthRAD)",
    "ssim_hu": "SSIM (SynthRAD)",
    "hu_error": "HU error",
    "hu_shift": "HU shift",
    "mind": "MIND distance",
    "hd95": "body HD95",
    "body_dice": "body Dice",
    "kid": "KID",
    "frechet_distance": "Fréchet distance",
    "gram_distance": "Gram distance",
    "sliced_wasserstein": "sliced Wasserstein distance",
    "seconds": "time a volume",
    "peak_memory": "peak memory",
    "edge_shift_mm": "edge shift",
    "corrupted_ssim": "SSIM under corruption",
    "corrupted_gradient_correlation": "gradient correlation under corruption",
}
# What says what it is of by its value alone: `slope (blur)`, not `slope (corruption blur)`.
_SAID_BY_VALUE = frozenset({"change", "corruption", "direction", "kind", "term"})


def title(name: str, of: Mapping[str, str | float] | None = None) -> str:
    """A metric's or candidate's name for readers, with what it is of: `PSNR (region 2)`."""
    of = dict(of or {})
    if name == "times_real" and "distance" in of:
        name = str(of.pop("distance"))  # its unit, `× real`, tells it from the distance itself
    words = _TITLES.get(name, name.replace("_", " "))
    if not of:
        return words
    return f"{words} ({', '.join(_detail(key, value) for key, value in of.items())})"


def _detail(key: str, value: str | float) -> str:
    shown = value if isinstance(value, str) else number(value)
    if key == "size_mm":
        return f"{shown} mm"
    return (shown if key in _SAID_BY_VALUE else f"{key} {shown}").replace("_", " ")


def number(value: float) -> str:
    """A number with as many digits as a reader needs; a dash where there is none."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    if size >= 1000 or value == int(value):
        text = f"{value:,.0f}"
    elif size >= 10:
        text = f"{value:.1f}"
    elif size >= 1:
        text = f"{value:.2f}"
    elif size >= 0.01 or size == 0:
        text = f"{value:.3f}"
    else:
        text = f"{value:.2g}"
    return text.replace("-", "−")


def with_unit(value: float, unit: str) -> str:
    """A number with its unit: `15.1 dB`."""
    return f"{number(value)} {unit}".rstrip()
