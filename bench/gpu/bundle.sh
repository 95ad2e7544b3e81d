#!/usr/bin/env bash
# bundle.sh DEST [LIST...]: gather what a GPU host without a package index needs, in folders DEST/LIST-1, DEST/LIST-2 … of at most 28 MiB each.
#
# A list is a file of wheels/: engine, nixl, generators, memory, peers; all of them if none is named. One folder travels with the repository in one
# call; files that are large for one come in parts. SGLang's kernels are trimmed to what a Hopper GPU needs with the triton attention
# backend (340 MB of FlashAttention-3 stay behind). Needs a package index, a minute and 1 GB in TMPDIR. On the host: install.sh.
set -euo pipefail
dest=$(mkdir -p "$1" && cd "$1" && pwd)
shift
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
part_bytes=$((16 << 20))
folder_bytes=$((28 << 20))

get() { # get FOLDER PIP_ARGUMENT...: wheels for the host's Python 3.12
  local into=$1 platforms=()
  shift
  for libc in 2_17 2_24 2_26 2_27 2_28 2_31 2_34; do platforms+=(--platform "manylinux_${libc}_x86_64"); done
  python3 -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp "${platforms[@]}" \
    --platform manylinux2014_x86_64 --platform manylinux1_x86_64 -d "$into" "$@"
}

get_kernels() { # get_kernels FOLDER
  (
    cd "$work"
    get . sglang-kernel==0.4.5
    python3 -m zipfile -e sglang_kernel-0.4.5*.whl kernel
    cd kernel
    rm -rf sgl_kernel/flash_ops* sgl_kernel/sm100 sgl_kernel/flashmla_ops* sgl_kernel/infllm_ops*
    tar czf "$1/sgl_kernel.tgz" sgl_kernel triton_kernels sglang_kernel-0.4.5.dist-info
  )
}

in_parts() { # in_parts FILE: FILE.part1of3 …, of what is large
  local count at=0
  count=$((($(stat -c %s "$1") + part_bytes - 1) / part_bytes))
  [ "$count" -gt 1 ] || return 0
  split -b "$part_bytes" -d -a 2 "$1" "$1.cut"
  for cut in "$1".cut*; do mv "$cut" "$1.part$((at += 1))of$count"; done
  rm "$1"
}

fill() { # fill LIST: its folders, the largest files first
  local number=1 size free=$folder_bytes
  mkdir "$dest/$1-1"
  while read -r size file; do
    if [ "$size" -gt "$free" ]; then
      free=$folder_bytes
      mkdir "$dest/$1-$((number += 1))"
    fi
    mv "$file" "$dest/$1-$number/"
    free=$((free - size))
  done < <(find "$work/$1" -type f -printf '%s %p\n' | sort -rn)
}

[ $# -gt 0 ] || set -- engine nixl generators peers
for list in "$@"; do
  rm -rf "${dest:?}/$list"-*
  mkdir "$work/$list"
  get "$work/$list" -r "$here/wheels/$list.txt"
  [ "$list" != engine ] || get_kernels "$work/$list"
  for file in "$work/$list"/*; do in_parts "$file"; done
  fill "$list"
done
du -sm "$dest"/*
