#!/usr/bin/env bash
# Runs the suite in a new environment for each set of versions that the README claims.
#
#   tests/versions.sh                  all sets
#   tests/versions.sh oldest newest    some
#
# A set needs its Python on the PATH (python3.10, python3.11, python3.13). Its environment, .venv-SET, is made anew;
# KEEP=1 takes one that is there already. Under Linux torch's usual builds bring gigabytes of CUDA packages.
set -euo pipefail
cd "$(dirname "$0")/.."

declare -A python=([oldest]=python3.10 [pinned]=python3.11 [newest]=python3.13)
declare -A packages=(
  [oldest]="torch==2.4.1 torchvision==0.19.1 timm==1.0.3 open_clip_torch==2.24.0 numpy==1.26.4"
  [pinned]="torch==2.13.0 torchvision==0.28.0"
  [newest]="torch torchvision timm open_clip_torch numpy"
)

for set in "${@:-oldest pinned newest}"; do
  for name in $set; do
    [ -n "${packages[$name]:-}" ] || { echo "expected oldest, pinned or newest but got $name" >&2; exit 2; }
    venv=.venv-$name
    if [ -z "${KEEP:-}" ] || [ ! -x "$venv/bin/python" ]; then
      rm -rf "$venv"
      "${python[$name]}" -m venv "$venv"
      # shellcheck disable=SC2086 # a list of words
      "$venv/bin/pip" install --quiet ${packages[$name]} -e '.[test]'
    fi
    "$venv/bin/python" -c '
import platform
from importlib.metadata import version
names = ("torch", "torchvision", "timm", "open_clip_torch", "numpy")
print("'"$name"': Python", platform.python_version(), *(f"{name} {version(name)}" for name in names))'
    "$venv/bin/python" -m pytest -q -n "${WORKERS:-2}" || failed="${failed:-} $name"
  done
done
[ -z "${failed:-}" ] || { echo "failed:$failed" >&2; exit 1; }
