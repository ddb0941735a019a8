#!/usr/bin/env bash
# Build Horovod for the torch of a virtual environment and for what this machine has, and install it there.
#
#   tools/horovod.sh BIN WHEELS     BIN: the environment's folder of programs; WHEELS: the folder where wheels are kept
#   tools/horovod.sh BIN            only print what would be built: the wheel's folder, then Horovod's settings
#
# The released 0.28.1 does not compile against torch >= 2.1: its two CMake files ask for C++14, torch's headers for C++20.
#
# MPI     where mpicxx is on the PATH, else Gloo alone.
# NCCL    where torch is built for CUDA. That takes nvcc (of $CUDA_HOME, or on the PATH) of about torch's CUDA, and an
#         NCCL: of $HOROVOD_NCCL_HOME, else the one that torch's own wheel brought, else $EBROOTNCCL, $NCCL_HOME, /usr.
# ROCm    nobody has tried it. HOROVOD_GPU=ROCM HOROVOD_GPU_OPERATIONS=NCCL HOROVOD_ROCM_HOME=/opt/rocm is where to begin.
#
# Where HOROVOD_GPU_OPERATIONS is set, nothing about GPUs is decided here: Horovod reads its settings itself.
set -euo pipefail
bin=$1 wheels=${2:-}
pins=$(dirname -- "${BASH_SOURCE[0]}")/../constraints.txt
pip=("$bin/pip" --disable-pip-version-check)
version=0.28.1

fail() {
    printf 'horovod.sh: %s\n' "$1" >&2
    exit 1
}

nccl_home() { # print the folder of an NCCL, if any: torch's own first, as it is loaded before Horovod
    local own folder
    own=$("$bin/python" -c 'from importlib.util import find_spec as find
print(next(iter(find("nvidia.nccl").submodule_search_locations)) if find("nvidia") and find("nvidia.nccl") else "")')
    for folder in "${HOROVOD_NCCL_HOME:-}" "$own" "${EBROOTNCCL:-}" "${NCCL_HOME:-}" /usr; do
        if [ -f "${folder:-absent}/include/nccl.h" ]; then
            echo "$folder"
            return
        fi
    done
}

read -r python torch cuda hip < <("$bin/python" -c 'import sys, torch
print(f"py{sys.version_info[0]}{sys.version_info[1]}", torch.__version__, torch.version.cuda or "-", torch.version.hip or "-")')
name=$python-torch$torch
settings=(HOROVOD_WITH_PYTORCH=1 HOROVOD_WITHOUT_TENSORFLOW=1 HOROVOD_WITHOUT_MXNET=1 HOROVOD_WITH_GLOO=1)
if command -v mpicxx >/dev/null; then
    name+=-mpi settings+=(HOROVOD_WITH_MPI=1)
else
    name+=-gloo settings+=(HOROVOD_WITHOUT_MPI=1)
fi
nccl=''
if [ -n "${HOROVOD_GPU_OPERATIONS:-}" ]; then
    name+=-${HOROVOD_GPU_OPERATIONS,,}
elif [ "$hip" != - ]; then
    fail "torch $torch is built for ROCm $hip, for which Horovod was never built here
  (cure: comm.backend=ddp goes over RCCL; to try it nevertheless, see ROCm in $0)"
elif [ "$cuda" != - ]; then
    # What is called nvcc may be a link, or a script.
    toolkit=${CUDA_HOME:-$( (nvcc --dryrun none.cu 2>&1 || true) | sed -n 's/^#\$ TOP=//p')}
    [ -x "$toolkit/bin/nvcc" ] ||
        fail "torch $torch is built for CUDA $cuda, and there is no nvcc to build Horovod for it
  (cure: load the CUDA module or set CUDA_HOME; or a torch without CUDA; comm.backend=ddp needs no Horovod)"
    nccl=$(nccl_home)
    [ -n "$nccl" ] ||
        fail "torch $torch is built for CUDA $cuda, and there is no nccl.h: gradients would go through host memory
  (cure: load the NCCL module or set HOROVOD_NCCL_HOME; comm.backend=ddp needs no Horovod)"
    toolkit=$(realpath "$toolkit")
    name+=-nccl settings+=("CUDA_HOME=$toolkit" "HOROVOD_CUDA_HOME=$toolkit") # the first is for torch's own build tools
    settings+=(HOROVOD_GPU_OPERATIONS=NCCL "HOROVOD_NCCL_HOME=$nccl" HOROVOD_NCCL_LINK=SHARED)
fi

build() { # into the folder of the wheel
    local work
    work=$(mktemp -d)
    # shellcheck disable=SC2064  # the folder of now
    trap "rm -rf '$work'" EXIT
    "${pip[@]}" install -q -c "$pins" setuptools wheel cmake psutil cloudpickle pyyaml packaging cffi
    "${pip[@]}" download -q --no-deps --no-binary :all: --no-build-isolation -d "$work" "horovod==$version"
    tar -xf "$work/horovod-$version.tar.gz" -C "$work"
    sed -i 's/CMAKE_CXX_STANDARD 14/CMAKE_CXX_STANDARD 20/' "$work/horovod-$version"/{,horovod/torch/}CMakeLists.txt
    if [ -n "$nccl" ] && [ ! -e "$nccl/lib/libnccl.so" ] && [ -e "$nccl/lib/libnccl.so.2" ]; then
        # Wheels have the library without the name by which linkers ask for it.
        mkdir -p "$work/nccl/lib"
        ln -s "$nccl/include" "$work/nccl/include"
        ln -s "$nccl/lib/libnccl.so.2" "$work/nccl/lib/libnccl.so"
        settings+=("HOROVOD_NCCL_HOME=$work/nccl")
    fi
    env "${settings[@]}" PATH="$(realpath "$bin"):$PATH" \
        "${pip[@]}" wheel -q --no-deps --no-build-isolation -w "$work/wheel" "$work/horovod-$version"
    mkdir -p "$wheels/$name"
    mv "$work"/wheel/horovod-*.whl "$wheels/$name/"
}

if [ -z "$wheels" ]; then
    printf '%s\n' "$name" "${settings[@]}"
    exit
fi
if ! compgen -G "$wheels/$name/horovod-*.whl" >/dev/null; then
    echo "building Horovod as $name (3 to 4 minutes on two cores)"
    (build)
fi
"${pip[@]}" install -q -c "$pins" psutil cloudpickle pyyaml packaging cffi
"${pip[@]}" install -q --no-deps --force-reinstall "$wheels/$name"/horovod-*.whl
"$bin/python" -c 'import horovod.torch as hvd
print("Horovod: MPI", hvd.mpi_built(), "Gloo", hvd.gloo_built(), "NCCL", bool(hvd.nccl_built()))'
