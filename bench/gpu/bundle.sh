#!/usr/bin/env bash
# bundle.sh DEST: gather what a GPU host without a package index needs, in folders DEST/a to DEST/g of at most 48 MiB each.
#
# One folder travels with the repository in one call. Wheels that are too large for one come in two parts, each in another.
# SGLang's kernels are trimmed to what a Hopper GPU needs with the triton attention backend (340 MB of FlashAttention-3 stay behind).
# Needs a package index, a minute and 1 GB in TMPDIR. On the host: install.sh.
set -euo pipefail
dest=$(mkdir -p "$1" && cd "$1" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

get() { # get FOLDER PIP_ARGUMENT...: wheels for the host's Python 3.12
  local into=$1 platforms=()
  shift
  for libc in 2_17 2_24 2_26 2_27 2_28 2_31 2_34; do platforms+=(--platform "manylinux_${libc}_x86_64"); done
  python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp "${platforms[@]}" \
    --platform manylinux2014_x86_64 --platform manylinux1_x86_64 -d "$into" "$@"
}

in_two() { # in_two WHEEL SIZE FOLDER OTHER: so much of it in the one, the rest in the other
  split -b "$2" -d -a 1 "$1" "$work/$(basename "$1").part"
  mv "$work/$(basename "$1").part0" "$dest/$3/"
  mv "$work/$(basename "$1").part1" "$dest/$4/"
  rm "$1"
}

for folder in a b c d e f g; do
  rm -rf "${dest:?}/$folder"
  mkdir "$dest/$folder"
  get "$dest/$folder" -r "$here/wheels/$folder.txt"
done
in_two "$dest"/c/nixl_cu13-*.whl 40m c a
in_two "$dest"/d/ai_dynamo_runtime-*.whl 45m d e

get "$work" sglang-kernel==0.4.5
cd "$work"
python3 -m zipfile -e sglang_kernel-0.4.5*.whl kernel
cd kernel
rm -rf sgl_kernel/flash_ops* sgl_kernel/sm100 sgl_kernel/flashmla_ops* sgl_kernel/infllm_ops*
tar czf "$dest/a/sgl_kernel.tgz" sgl_kernel triton_kernels sglang_kernel-0.4.5.dist-info
du -sm "$dest"/[a-g]
