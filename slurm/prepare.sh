#!/usr/bin/env bash
#SBATCH --job-name=prepare
#SBATCH --nodes=1
#SBATCH --exclusive
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out
# Turn a recipe's products into its patch store, shared out over MPI; submit from the project's root.
#
#   source slurm/sites/juwels_booster.sh
#   [RECIPE=configs/s2x.yaml] sbatch [--nodes=2 --ntasks-per-node=12] slurm/prepare.sh [key=value ...]
#
# Products that are finished are kept, so the same command again goes on.
set -eo pipefail # not -u: module functions and activate scripts read unset variables

fail() {
    echo "prepare.sh: $1" >&2
    exit 2
}

recipe=${RECIPE:-configs/s2x.yaml}
[ -f "${SLURM_SUBMIT_DIR:-}/slurm/env.sh" ] || fail "submit it from the project's root: sbatch slurm/prepare.sh"
# shellcheck source=slurm/env.sh
source "$SLURM_SUBMIT_DIR/slurm/env.sh"
[ -f "$recipe" ] || fail "no recipe $PWD/$recipe (cure: RECIPE=configs/NAME.yaml sbatch slurm/prepare.sh)"

srun --kill-on-bad-exit=1 --ntasks-per-node="$HPC_SR_TASKS_PER_NODE" "${HPC_SR_SRUN_OPTIONS[@]}" \
    hpc-sr prepare "$recipe" "$@"
