#!/bin/sh
# Make .venv and install slowfast_gta with its tests and projects into it, at the versions of constraints.txt.
# usage: sh tools/install.sh [PYTHON]
set -u
cd "$(dirname "$0")/.." || exit 1
python=${1:-python3}

fail() {
    echo "error: $1" >&2
    exit 1
}

command -v "$python" >/dev/null 2>&1 || fail "there is no $python here. Install Python 3.11 or newer, or name yours: make PYTHON=/path/to/python3.12"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$python is $("$python" --version 2>&1); Python 3.11 or newer is needed. Name another: make PYTHON=python3.12"
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "$python has no venv module. On Debian and Ubuntu: apt install python3-venv"
{ mkdir -p .venv && touch .venv/writable && rm -f .venv/writable; } 2>/dev/null ||
    fail "nothing can be written in $(pwd)/.venv. Clone into a folder of your own, or give yourself the right to write there."

echo "Installing into .venv (once; a CPU build of PyTorch is about 200 MB, what tests and projects need 400) ..."
"$python" -m venv .venv || fail "$python could not make .venv; the reason is above. Is the disk full?"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test,pictures,export,report,browser,docs,asm-loc,a2summ,ma-lmm]" ||
    fail "pip could not install the packages; the reason is above. Without a network, see README, Install."
touch .venv/installed
