"""Configuration of a run: typed models, YAML and command-line overrides."""

from __future__ import annotations

from medstyle_gan.config.dumping import dump_config
from medstyle_gan.config.loading import given_keys, load_config
from medstyle_gan.config.schema import Config

__all__ = ["Config", "dump_config", "given_keys", "load_config"]
