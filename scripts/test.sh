#!/usr/bin/env bash
# Checks everything: style, types, tests. Arguments go to pytest: scripts/test.sh tests/config -k yaml
# (paths are relative to the repository root).
set -euo pipefail

# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
set_up_environment dev
cd "$repository"

"$venv/bin/python" -m ruff check .
"$venv/bin/python" -m ruff format --check .
"$venv/bin/python" -m mypy

# Two processes of one thread each: small networks gain nothing from more threads. A file's
# tests stay in one process, which then trains its shared models once; the files come in the order
# of tests/conftest.py, not in that of their numbers of tests.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
exec "$venv/bin/python" -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
