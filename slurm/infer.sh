#!/usr/bin/env bash
#SBATCH --job-name=infer
#SBATCH --nodes=1
#SBATCH --exclusive
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out
# Super-resolve products on all GPUs of the nodes; submit from the project's root.
#
#   source slurm/sites/juwels_booster.sh
#   sbatch [--nodes=4] slurm/infer.sh RUN_DIR [RUN_DIR] --product A.SAFE B.SAFE ... --out OUT_DIR
#
# takes what `hpc-sr infer` takes. Where there are as many products as GPUs each GPU does whole products, else they
# share the windows of each. What is finished is kept, and half-made images are gone on with, so the same command goes
# on after a failure; a product that fails does not keep the others from being done.
#
#   sbatch [--array=0-9] slurm/infer.sh RUN_DIR OUT_DIR PRODUCT ...
#
# is for many products and small jobs: of N ranks, all jobs of the array together, each does every N-th product.
set -eo pipefail # not -u: module functions and activate scripts read unset variables
# shellcheck source=slurm/env.sh
source "${HPC_SR_SLURM:-${SLURM_SUBMIT_DIR:?this is a job: sbatch slurm/infer.sh}/slurm}/env.sh" || exit 2

[ -d "$1" ] || fail "no run directory '$1' in $PWD (cure: sbatch slurm/infer.sh RUN_DIR ... --product A.SAFE ... --out DIR)"
need_array_from_0
need_gpus
for word in "$@"; do
    if [ "$word" = --out ]; then
        [ -z "$SLURM_ARRAY_TASK_ID" ] || fail "an array would do the same product in each job (cure: RUN_DIR OUT_DIR PRODUCT ...)"
        launch hpc-sr infer "$@"
        exit
    fi
done
[ $# -gt 2 ] || fail "no products are named (cure: sbatch slurm/infer.sh RUN_DIR ... --product A.SAFE ... --out DIR)"
mkdir -p -- "$2"
# Each rank's commands are on their own: without the step they do not look for the other ranks.
launch --kill-on-bad-exit=0 env -u SLURM_STEP_ID "$HPC_SR_SLURM/infer_turns.sh" "$@"
