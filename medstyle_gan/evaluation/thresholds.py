"""What is asked of a translator, as a YAML file that users may edit."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from medstyle_gan.config.base import Section
from medstyle_gan.errors import UserError
from medstyle_gan.evaluation.chapter import ChapterName

Level = Literal["pass", "warn", "fail"]
LEVELS: tuple[Level, ...] = ("pass", "warn", "fail")


class Bound(Section):
    """Two limits, in the figure's units."""

    model_config = ConfigDict(populate_by_name=True, **Section.model_config)

    to_pass: float = Field(alias="pass", description="up to here it passes (the figure's unit)")
    to_warn: float = Field(alias="warn", description="up to here it warns, beyond it fails")


class Threshold(Section):
    """What is asked of one figure."""

    figure: str = Field(description="the figure's name")
    of: dict[str, str | float] = Field(
        default_factory=dict, description="what it is a figure of, such as {region: '2'}"
    )
    statistic: Literal["mean", "median", "worst"] = Field(
        "mean", description="what counts of several subjects"
    )
    at_most: Bound | None = Field(None, description="upper limits (the figure's unit)")
    at_least: Bound | None = Field(None, description="lower limits (the figure's unit)")
    references: Literal["beat", "match", "ignore"] = Field(
        "match",
        description="beat: better than every reference, match: not worse than the best one",
    )
    worse: Literal["fail", "warn"] = Field(
        "fail", description="what it means to lose to the best reference"
    )

    @model_validator(mode="after")
    def _asks_something(self) -> Threshold:
        if self.at_most and self.at_least:
            raise ValueError("give at_most or at_least, not both")
        if not (self.at_most or self.at_least) and self.references == "ignore":
            raise ValueError("asks nothing: give at_most, at_least, or references: match")
        if self.at_most and self.at_most.to_pass > self.at_most.to_warn:
            raise ValueError("at_most: pass must not be above warn")
        if self.at_least and self.at_least.to_pass < self.at_least.to_warn:
            raise ValueError("at_least: pass must not be below warn")
        return self


Thresholds = Mapping[ChapterName, tuple[Threshold, ...]]

_ADAPTER: TypeAdapter[dict[ChapterName, tuple[Threshold, ...]]] = TypeAdapter(
    dict[ChapterName, tuple[Threshold, ...]]
)


def read_thresholds(path: str | Path | None = None) -> Thresholds:
    """Reads thresholds.

    Args:
        path: A YAML file; None for the package's own, `evaluation/thresholds.yaml`.

    Raises:
        UserError: The file cannot be read, or has mistakes: all are named.
    """
    if path is None:
        text = files("medstyle_gan.evaluation").joinpath("thresholds.yaml").read_text("utf-8")
        return _ADAPTER.validate_python(yaml.safe_load(text))
    try:
        text = Path(path).read_text("utf-8")
        tree: Any = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise UserError(f"--thresholds {path}: cannot be read ({reason})") from None
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = "" if line is None else f" (line {line + 1})"
        raise UserError(f"--thresholds {path}: is not valid YAML{where}") from None
    try:
        return _ADAPTER.validate_python(tree)
    except ValidationError as error:
        lines = [
            f"\n  {'.'.join(map(str, mistake['loc'])) or 'the file'}: {mistake['msg']}"
            for mistake in error.errors()
        ]
        raise UserError(
            f"--thresholds {path}: {len(lines)} mistake{'s' if len(lines) > 1 else ''}; "
            f"medstyle_gan/evaluation/thresholds.yaml shows how it is written:{''.join(lines)}"
        ) from None
