#!/usr/bin/env bash
#SBATCH --job-name=evaluate
#SBATCH --nodes=1
#SBATCH --exclusive
#SBATCH --time=02:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out
# Score trained runs on all GPUs of the nodes, which share products and windows; submit from the project's root.
#
#   source slurm/sites/juwels_booster.sh
#   sbatch slurm/evaluate.sh RUN_DIR [--product A.SAFE B.SAFE --protocol both ...]
#   sbatch slurm/evaluate.sh --table thesis RUN_DIR RUN_DIR
#
# takes what `hpc-sr evaluate` takes; without products, those that a run held out. Requeued, it keeps what is scored.
set -eo pipefail # not -u: module functions and activate scripts read unset variables
# shellcheck source=slurm/env.sh
source "${HPC_SR_SLURM:-${SLURM_SUBMIT_DIR:?this is a job: sbatch slurm/evaluate.sh}/slurm}/env.sh" || exit 2

case "$1" in
    -*) ;;
    *) [ -d "$1" ] || fail "no run directory '$1' in $PWD (cure: sbatch slurm/evaluate.sh RUN_DIR ...)" ;;
esac
need_gpus
launch hpc-sr evaluate "$@"
