"""Starts a config's training, and prints how long after its imports the first step began."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

from medstyle_gan.config import load_config
from medstyle_gan.methods import TrainedMethod
from medstyle_gan.training import train


def main() -> None:
    """Train the config named first into the folder named second, up to its first step."""
    began = time.perf_counter()

    def first_step(self: TrainedMethod, batch: dict[str, Any], batch_index: int) -> None:
        print(json.dumps({"seconds": round(time.perf_counter() - began, 3)}), flush=True)
        os._exit(0)  # what follows is not wanted, and would take time

    TrainedMethod.training_step = first_step  # type: ignore[method-assign]
    train(load_config(sys.argv[1]), sys.argv[2])


if __name__ == "__main__":
    main()
