"""An evaluation in the Weights & Biases run of the model that was evaluated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from medstyle_gan.config import load_config
from medstyle_gan.evaluation.evaluating import Evaluation
from medstyle_gan.evaluation.report import summary_page, views_montage
from medstyle_gan.evaluation.summary import summarize
from medstyle_gan.inference import load_bundle
from medstyle_gan.training.wandb_logger import PrivateWandbLogger, make_wandb_logger


class EvaluationLogger:
    """Logs one model's evaluation; made before the work, so that a missing login is told then.

    Args:
        logger: of the model's run.
    """

    def __init__(self, logger: PrivateWandbLogger) -> None:
        self._logger = logger

    def log(self, evaluation: Evaluation) -> str:
        """Logs the verdicts, means, tables and slices at the model's step, and ends the run.

        Subjects are numbered, whatever the report calls them. The tables are a page of their
        own: wandb's Table would become an artefact whose record holds a path of this machine.

        Args:
            evaluation: what was found.

        Returns:
            One line for the user: where the run is, and how to send it.

        Raises:
            UserError: W&B cannot be reached.
        """
        import wandb

        row: dict[str, Any] = {
            f"evaluation/verdict/{verdict.chapter}": verdict.verdict
            for verdict in evaluation.verdicts
        }
        row["evaluation/verdict/overall"] = evaluation.verdict
        row |= _means(evaluation)
        row["evaluation/summary"] = wandb.Html(
            summary_page(evaluation), inject=False, data_is_not_path=True
        )
        row["evaluation/slices"] = [
            wandb.Image(views_montage(views, evaluation.mark), caption=f"subject {number}")
            for number, views in enumerate(evaluation.views, start=1)
        ]
        # A further evaluation at the same step is news, so the logger's memory is not asked.
        self._logger.log_metrics({**row, "step": evaluation.provenance["training_steps"]})
        told = self._logger.describe()
        self._logger.close()
        return told


def evaluation_loggers(
    models: Sequence[str | Path], report: str | Path, mode: Literal["off", "offline", "online"]
) -> list[EvaluationLogger]:
    """A logger a model: of the training's W&B run where the model is a run's folder.

    A bundle has no run, and one of its own begins in the report's folder.

    Args:
        models: run folders or bundles.
        report: the report's folder, which need not be there yet.
        mode: `off` gives none.

    Raises:
        UserError: for what is no model, and `online` without a login.
    """
    if mode == "off":
        return []
    loggers = []
    for number, model in enumerate(models, start=1):
        folder = Path(model)
        if (folder / "config.yaml").is_file():
            config = load_config(folder / "config.yaml")
        else:
            config = load_bundle(model).config
            folder = Path(report) if len(models) == 1 else Path(report) / f"model_{number}"
        logging = config.logging.model_copy(update={"wandb": mode})
        logger = make_wandb_logger(config.model_copy(update={"logging": logging}), folder)
        assert logger is not None
        loggers.append(EvaluationLogger(logger))
    return loggers


def _means(evaluation: Evaluation) -> dict[str, float]:
    """Each chapter's main figures, of the translation and the references."""
    return {
        f"evaluation/{chapter.name}/{summary.name}/{summary.candidate}": summary.mean
        for chapter in evaluation.chapters
        for summary in summarize(chapter.figures, evaluation.seed)
        if not summary.of and math.isfinite(summary.mean)
    }
