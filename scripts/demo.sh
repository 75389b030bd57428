#!/usr/bin/env bash
# Makes data, trains, translates, scores and draws: everything that the README's demo shows.
# Arguments go to `medstyle demo`: scripts/demo.sh --quick -o /tmp/demo
set -euo pipefail

# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
set_up_environment ""

# The last -o wins, so one among the arguments replaces the default.
exec "$venv/bin/python" -m medstyle_gan demo -o "$repository/runs/demo" "$@"
