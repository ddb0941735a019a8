#!/usr/bin/env bash
#SBATCH --job-name=infer
#SBATCH --nodes=1
#SBATCH --exclusive
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out
# Super-resolve products, each on one GPU, to OUT_DIR/<product>.tif; submit from the project's root.
#
#   source slurm/sites/juwels_booster.sh
#   sbatch [--array=0-9] slurm/infer.sh RUN_DIR OUT_DIR PRODUCT ...
#
# The ranks take turns: of N ranks, all jobs of the array together, each does every N-th product, one at a time. So all
# GPUs of a node are busy where nodes are lent whole. Images that exist are not made again, so the same command goes
# on after a failure; a product that fails does not keep the others from being done.
set -eo pipefail # not -u: module functions and activate scripts read unset variables
# shellcheck source=slurm/env.sh
source "${SLURM_SUBMIT_DIR:?this is a job: sbatch slurm/infer.sh}/slurm/env.sh" || exit 2

[ -d "$1" ] || fail "no run directory '$1' in $PWD (cure: sbatch slurm/infer.sh RUN_DIR OUT_DIR PRODUCT ...)"
[ $# -gt 2 ] || fail "no products are named (cure: sbatch slurm/infer.sh RUN_DIR OUT_DIR PRODUCT ...)"
need_array_from_0
need_gpus
mkdir -p "$2"
launch --kill-on-bad-exit=0 slurm/infer_turns.sh "$@"
