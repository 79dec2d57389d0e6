# Sourced by the other scripts: a virtual environment with livedub in it, made when there is none.
# Uses the active virtual environment, else .venv in the repository's root. Needs Python 3.11 or 3.12 and the package
# registry only. LIVEDUB_TORCH chooses the torch to install first (default: torch==2.13.0; an exact version lets pip
# take a processor-only build where the registry offers one, an open range would pull the CUDA build).
# Usage: . scripts/env.sh EXTRA[,EXTRA]

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

find_python() {
    local candidate
    for candidate in "${LIVEDUB_PYTHON:-}" python3.12 python3.11 python3 python; do
        if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "livedub needs Python 3.11 or 3.12; none was found. Install one, or name it in LIVEDUB_PYTHON." >&2
    return 1
}

if [ -z "${VIRTUAL_ENV:-}" ]; then
    if [ ! -x .venv/bin/python ]; then
        python=$(find_python)
        echo "Making a virtual environment in .venv ..." >&2
        "$python" -m venv .venv
    fi
    export VIRTUAL_ENV="$root/.venv"
    export PATH="$VIRTUAL_ENV/bin:$PATH"
fi

# What is installed is remembered, so that a second run starts at once.
extras=$1
stamp="$VIRTUAL_ENV/.livedub-$(echo "$extras" | tr ',' '-')"
wanted="$root $(cksum <pyproject.toml)"
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "Installing livedub[$extras] into $VIRTUAL_ENV (once) ..." >&2
    python -m pip install --quiet --upgrade pip
    if ! python -c 'import torch' 2>/dev/null; then
        python -m pip install --quiet "${LIVEDUB_TORCH:-torch==2.13.0}"
    fi
    python -m pip install --quiet --editable ".[$extras]"
    echo "$wanted" >"$stamp"
fi
