# Sourced by the other scripts: makes and updates .venv in the repository root.
#
# set_up_environment EXTRA   installs the package with an extra ("" for none, or "dev")
#
# Safe to run again (nothing is done while pyproject.toml is unchanged), after an interruption
# (an unfinished install is redone) and twice at once (the second waits, where flock exists).
# shellcheck shell=bash

repository="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
venv="$repository/.venv"

_supported='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))'

_find_python() {
    local candidate
    for candidate in python3 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null && "$candidate" -c "$_supported" 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    local found="none"
    command -v python3 >/dev/null && found="$(python3 --version 2>&1)"
    echo "medstyle_gan needs Python 3.11, 3.12 or 3.13, and python3 here is: $found." >&2
    echo "Install one of them, put it on PATH and run this again." >&2
    return 1
}

_make_venv() {
    if [[ -x "$venv/bin/python" ]] && ! "$venv/bin/python" -c "$_supported"; then
        echo "$venv holds a Python that is not 3.11, 3.12 or 3.13; remove that folder." >&2
        return 1
    fi
    # pip is the last thing that venv installs, so a venv without it was interrupted.
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        local python
        python="$(_find_python)" || return 1
        echo "Making $venv" >&2
        "$python" -m venv "$venv" || {
            echo "Python's venv module failed (on Debian and Ubuntu: apt install python3-venv)" >&2
            return 1
        }
    fi
}

_fingerprint() { # of what an install depends on
    { cat "$repository/pyproject.toml" && echo "$repository"; } | cksum
}

_install() {
    local extra="$1" stamp="$venv/.installed-${1:-base}" wanted
    wanted="$(_fingerprint)"
    if [[ -f "$stamp" && "$(<"$stamp")" == "$wanted" ]]; then
        return
    fi
    echo "Installing medstyle_gan and what it needs (once; the download is a few GB)" >&2
    rm -f "$stamp"
    "$venv/bin/python" -m pip install --disable-pip-version-check --quiet \
        --editable "$repository${extra:+[$extra]}" >&2 || return 1
    echo "$wanted" >"$venv/.installed-base"
    echo "$wanted" >"$stamp"
}

set_up_environment() {
    # In a subshell, so that the lock (on the repository folder itself) ends with it.
    (
        exec 9<"$repository"
        if command -v flock >/dev/null; then
            flock 9
        fi
        _make_venv && _install "$1"
    )
}
