"""From two collections and a machine to a config with reasons: `make_plan`."""

from __future__ import annotations

from medstyle_gan.training.planning.planner import Plan, make_plan
from medstyle_gan.training.planning.text import write_plan
from medstyle_gan.training.planning.trial import run_trial

__all__ = ["Plan", "make_plan", "run_trial", "write_plan"]
