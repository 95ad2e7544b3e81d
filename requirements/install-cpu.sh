#!/bin/sh
# Installs what a worker needs on a CPU, and what else is named: install-cpu.sh PIP [pip's arguments …]
# On the public index torch is a build of 5 GB with CUDA; the one without is on torch's own index. Where the index in use has that one
# anyway, no other is asked.
set -eu
pip=$1
shift
here=$(dirname "$0")
torch=$(grep '^torch==' "$here/sglang-cpu.txt")
vision=$(grep '^torchvision==' "$here/sglang-cpu-nodeps.txt")
set -- -q --disable-pip-version-check "$@"
if "$pip" install --disable-pip-version-check --dry-run "$torch" | grep -q nvidia; then
    "$pip" install -q --disable-pip-version-check --no-deps --index-url https://download.pytorch.org/whl/cpu "$torch" "$vision"
fi
"$pip" install -r "$here/sglang-cpu.txt" "$@"
"$pip" install -q --disable-pip-version-check --no-deps -r "$here/sglang-cpu-nodeps.txt"
