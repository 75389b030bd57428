"""What `medstyle train` without a config plans by itself."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medstyle_gan.cli.options import room_for_patches


def planned_options(
    args: argparse.Namespace, options: Mapping[str, object]
) -> tuple[dict[str, Any], str | None]:
    """Settings that were not given, as `medstyle plan` would choose them, without a trial.

    A run that is begun again (`--resume-or-start`) keeps its own: a machine measured anew may
    lead to others.

    Args:
        args: of the command; its overrides stand.
        options: dotted key → what options gave.

    Returns:
        Dotted key → value, and the line to say of it; nothing where there is nothing to plan
        from.

    Raises:
        UserError: there are mistakes in what was given, the run folder is in use, or the
            collections cannot be used.
    """
    from medstyle_gan.config import given_keys, load_config
    from medstyle_gan.training.planning.rules import PLANNED, RESNETS, is_given, setting

    config = load_config(None, args.overrides, options={**options, **room_for_patches(args)})
    given = given_keys(None, args.overrides, options=options)
    if "generator.ngf" in given:  # who sizes the networks has the losses of the defaults
        given += tuple(key for key in PLANNED if key.startswith("loss."))
    if config.method.name == "gatys" or not (config.data.scans and config.data.style):
        return {}, None  # train says what is missing
    if args.out and not args.print_config:
        from medstyle_gan.training.run_folder import RunFolder

        run = RunFolder(Path(args.out))
        if args.resume_or_start and run.config.exists():
            before = load_config(run.config)
            same = (
                config.generator.name == before.generator.name and before.generator.name in RESNETS
            )
            kept = [k for k in PLANNED if same or not k.startswith("generator.")]
            return {k: _plain(setting(before, k)) for k in kept if not is_given(k, given)}, None
        run.refuse_used()
    from medstyle_gan.training.launching import started_together

    if config.training.world_size > 1 and started_together():
        return {}, (
            "no --config: not planned, as processes started by torchrun or srun would each plan "
            "for themselves; make one plan for all with medstyle plan, and give it by --config"
        )
    from medstyle_gan.data.progress import FilesProgress
    from medstyle_gan.training.planning import make_plan
    from medstyle_gan.training.planning.planner import NothingUsable
    from medstyle_gan.training.planning.text import short_line

    try:
        with FilesProgress("planning") as progress:
            plan = make_plan(config, given, estimate=False, on_progress=progress.show)
    except NothingUsable:
        return {}, None  # train names all files, with their reasons
    if not plan.decisions:
        return {}, None
    return plan.settings, (
        f"no --config: planned {short_line(plan)}; the reasons, in a file to edit and keep: "
        "medstyle plan with the same --scans, --style and settings, and -o plan.yaml"
    )


def _plain(value: Any) -> Any:
    return value.model_dump() if hasattr(value, "model_dump") else value
