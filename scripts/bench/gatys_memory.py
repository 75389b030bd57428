"""Runs three iterations of one contender, and prints this process's memory (MiB) as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

if (scripts := str(Path(__file__).resolve().parents[1])) not in sys.path:
    sys.path.insert(0, scripts)

from bench.gatys_time import OURS, OurGatys, bench_gatys_config, pictures
from bench.memory_loop import status_mib
from bench.textbook_gatys import TextbookGatys

_ITERATIONS = 3


def main() -> None:
    """Run the contender, size and settings named on the command line."""
    name, size, *overrides = sys.argv[1:]
    imports = status_mib("VmRSS")
    config = bench_gatys_config(overrides)
    content, style = pictures(int(size))
    contender = (
        OurGatys(OURS, config, content, style)
        if name == OURS
        else TextbookGatys(config.vgg.weights, config.loss, content, style)
    )
    contender.run(_ITERATIONS)
    print(json.dumps({"imports": imports, "peak": status_mib("VmHWM")}))


if __name__ == "__main__":
    main()
