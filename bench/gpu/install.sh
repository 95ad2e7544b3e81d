#!/usr/bin/env bash
# On the GPU host: source bench/gpu/install.sh FOLDER..., once for each folder of bundle.sh as it arrives, in any order.
#
# Installs into $KVMESH_SITE (/tmp/site), which stays while the host does, and sets the environment that SGLang needs there: call it in every shell
# that runs Python, without a folder where nothing is new. What came in parts is installed when the last one is there.
site=${KVMESH_SITE:-/tmp/site}
parts=$site.parts
mkdir -p "$site" "$parts"

_install_wheels() {
  python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" "$@"
}

_install_joined() { # _install_joined FILE.partKofN: once all N are there
  local file count parts_here
  cp "$1" "$parts/"
  file=$parts/$(basename "${1%.part*}")
  count=${1##*of}
  parts_here=("$file".part*of"$count")
  [ ${#parts_here[@]} -eq "$count" ] || return 0
  for ((part = 1; part <= count; part++)); do cat "$file.part${part}of$count"; done >"$file"
  rm "${parts_here[@]}"
  case $file in
    */sgl_kernel.tgz) _install_kernels "$file" ;;
    # Both of Dynamo's wheels fill the folder dynamo, which pip replaces as a whole.
    */ai_dynamo_runtime-*) _install_wheels "$file" "$parts"/ai_dynamo-*.whl ;;
    *) _install_wheels "$file" ;;
  esac
}

_install_kernels() { # _install_kernels ARCHIVE
  tar xzf "$1" -C "$site"
  cp "$(dirname "${BASH_SOURCE[0]}")/flashinfer_stub.py" "$site/"
  echo 'import flashinfer_stub' >"$site/sitecustomize.py"
}

for folder in "$@"; do
  wheels=()
  for wheel in "$folder"/*.whl; do
    case $wheel in
      */ai_dynamo-*) cp "$wheel" "$parts/" ;; # waits for the runtime
      *) [ -e "$wheel" ] && wheels+=("$wheel") ;;
    esac
  done
  [ ${#wheels[@]} -gt 0 ] && _install_wheels "${wheels[@]}"
  for part in "$folder"/*.part*of*; do [ -e "$part" ] && _install_joined "$part"; done
  [ -e "$folder/sgl_kernel.tgz" ] && _install_kernels "$folder/sgl_kernel.tgz"
done
# DualGemm picks a Blackwell kernel when it is imported.
dual_gemm=$site/sglang/srt/layers/dual_gemm.py
[ -f "$dual_gemm" ] && sed -i 's/        if not is_cuda():/        if True:/' "$dual_gemm"
case ":${PYTHONPATH:-}:" in *":$site:"*) ;; *) export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}" ;; esac
export HF_HUB_OFFLINE=1 SGLANG_IS_FLASHINFER_AVAILABLE=0 SGLANG_SKIP_SGL_KERNEL_VERSION_CHECK=1
# SGLang's radix tree in Rust is built for a later PyTorch than the host's and crashes there.
export SGLANG_UNIFIED_RADIX_TREE_CORE_BACKEND=python
unset folder wheels wheel part dual_gemm
true
