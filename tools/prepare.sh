#!/bin/sh
# Makes .venv with everything pinned in constraints.txt and builds the kernels.
# When the machine lacks something, says the one command that brings it (and runs it when root on Debian).
set -eu
python="$1"
need=""
command -v "$python" >/dev/null 2>&1 || need="$need python3 python3-venv python3-dev"
command -v gcc >/dev/null 2>&1 || command -v cc >/dev/null 2>&1 || need="$need gcc libc6-dev"
if command -v "$python" >/dev/null 2>&1; then
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "Python 3.11 or newer is needed; $python is $("$python" -V 2>&1). Set PYTHON=/path/to/python3.11." >&2
        exit 1
    }
    "$python" -c 'import ensurepip, venv' 2>/dev/null || need="$need python3-venv"
    header=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include") + "/Python.h")')
    [ -e "$header" ] || need="$need python3-dev"
fi
case "$(uname -m)" in
    x86_64 | aarch64) ;;
    *) echo "Only x86-64 and aarch64 (64-bit ARM) are supported: numpy and osqp have no wheels for $(uname -m)." >&2; exit 1 ;;
esac
if [ -n "$need" ]; then
    install="apt-get update && apt-get install -y$need"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        echo "Missing:$need. Running: $install"
        sh -c "$install"
    else
        echo "Missing:$need. Run this once, then try again:" >&2
        echo "    sudo sh -c '$install'" >&2
        exit 1
    fi
fi
[ -x .venv/bin/python ] || "$python" -m venv .venv
echo "Installing into .venv and building the kernels; the first time takes a minute or two."
.venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,demo]'
