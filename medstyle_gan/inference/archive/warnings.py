"""What a user should know of a translation that was made."""

from __future__ import annotations

from typing import Any

from medstyle_gan.inference.translation import Translation

# The percentiles that a scale is fitted to leave 1 % outside by default.
_MUCH_CLIPPED = 0.05


def noteworthy(translation: Translation[Any], dtype: str) -> tuple[str, ...]:
    """Sentences for the sidecar and the manifest; they name no file.

    Args:
        translation: the translation.
        dtype: type of the voxels as they are written.
    """
    clipped, found = translation.clipped, list(translation.warnings)
    outside = (clipped.input_below + clipped.input_above) / max(clipped.total, 1)
    if outside > _MUCH_CLIPPED:
        found.append(
            f"{outside:.0%} of the input's voxels lie beyond the intensity scale and were clipped"
        )
    if clipped.output:
        found.append(f"{clipped.output} values beyond {dtype} were clipped")
    return tuple(found)
