"""Part `memory`: peak resident memory of translating a file, by the volume's size."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.fresh_process import run_program
from medstyle_gan.config import Config, dump_config

_TARGET_GIB = 4.0


def measure_memory(
    config: Config, sizes: Sequence[tuple[int, ...]], max_gib: float, say: Callable[[str], None]
) -> dict[str, Any]:
    """Translate one file of each size, in a fresh process each.

    Every pass over the volume is done and the whole output written, but in all slices but two
    batches the body is left out, so that the network, whose memory each batch takes anew, is not
    waited for.

    Args:
        config: settings; the generator's and `inference` count.
        sizes: (X, Y, Z) of the volumes, int16.
        max_gib: `--max-memory`.
        say: takes a line of progress.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "config.yaml"
        settings.write_text(dump_config(config))
        for size in sizes:
            shown = "x".join(map(str, size))
            say(f"memory: {shown}")
            rows.append(
                {
                    "size": list(size),
                    **run_program("translation_process.py", settings, shown, str(max_gib), folder),
                }
            )
    largest = max(rows, key=lambda row: row["peak_mib"])
    return {
        "max_memory_gib": max_gib,
        "generator": config.generator.model_dump(mode="json"),
        "volumes": rows,
        "ratios": [
            {
                "name": f"GiB, {'x'.join(map(str, largest['size']))}",
                "value": round(largest["peak_mib"] / 1024, 3),
                "target": _TARGET_GIB,
            }
        ],
    }


def memory_lines(result: dict[str, Any]) -> list[str]:
    """The result as lines to print."""
    lines = [
        f"peak resident memory (MiB; --max-memory {result['max_memory_gib']:g})",
        f"  {'volume':16}{'before':>10}{'peak':>10}{'foretold':>10}{'on disk':>10}{'batch':>8}"
        f"{'seconds':>10}",
    ]
    for row in result["volumes"]:
        values = [row[k] for k in ("before_mib", "peak_mib", "foretold_mib", "disk_mib")]
        lines.append(
            f"  {'x'.join(map(str, row['size'])):16}"
            + "".join(f"{value:10.0f}" for value in values)
            + f"{row['batch_size']:8.0f}{row['seconds']:10.1f}"
        )
    return lines
