#!/usr/bin/env bash
#SBATCH --job-name=evaluate
#SBATCH --nodes=1
#SBATCH --exclusive
#SBATCH --time=02:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out
# Score a trained run on all GPUs of the nodes, which share the windows; submit from the project's root.
#
#   source slurm/sites/juwels_booster.sh
#   sbatch slurm/evaluate.sh RUN_DIR [--product A.SAFE B.SAFE --protocol both ...]
#
# takes what `hpc-sr evaluate` takes; without products, the test split of the run's own store.
set -eo pipefail # not -u: module functions and activate scripts read unset variables
# shellcheck source=slurm/env.sh
source "${SLURM_SUBMIT_DIR:?this is a job: sbatch slurm/evaluate.sh}/slurm/env.sh" || exit 2

[ -d "$1" ] || fail "no run directory '$1' in $PWD (cure: sbatch slurm/evaluate.sh RUN_DIR ...)"
need_gpus
launch hpc-sr evaluate "$@"
