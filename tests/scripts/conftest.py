from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LoadScript = Callable[[str], Any]


@pytest.fixture
def load_script(repository: Path, monkeypatch: pytest.MonkeyPatch) -> LoadScript:
    """Gives `scripts/NAME.py` as a module, with what stands beside it importable."""
    monkeypatch.syspath_prepend(str(repository / "scripts"))

    def load(name: str) -> Any:
        path = repository / "scripts" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
