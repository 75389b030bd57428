#!/usr/bin/env bash
# Makes the pictures of docs/recipes.md from phantoms, and from an openms scan where there is one;
# offline, in minutes on one core. Arguments go to scripts/recipes.py: scripts/recipes.sh --help
set -euo pipefail

# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
set_up_environment ""

exec "$venv/bin/python" "$repository/scripts/recipes.py" "$@"
