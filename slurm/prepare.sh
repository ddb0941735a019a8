#!/usr/bin/env bash
#SBATCH --job-name=prepare
#SBATCH --nodes=1
#SBATCH --exclusive
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out
# Turn a recipe's products or images into its patch store; submit from the project's root.
#
#   source slurm/sites/juwels_booster.sh
#   [RECIPE=configs/s2x.yaml] sbatch [--nodes=2 --ntasks-per-node=12] slurm/prepare.sh [key=value ...]
#
# shares the work out to all tasks over MPI. Where small jobs start sooner than large ones, let an array of one-node jobs
# do the parts, and another job collect them: mix the training patches and write the manifest.
#
#   id=$(sbatch --parsable --array=0-9 slurm/prepare.sh [key=value ...])
#   sbatch --dependency=afterok:"$id" slurm/prepare.sh [key=value ...]
#
# What is finished is kept, so the same commands again go on.
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

share=()
if [ -n "$SLURM_ARRAY_TASK_ID" ]; then
    [ "${SLURM_ARRAY_TASK_MIN:-}-${SLURM_ARRAY_TASK_MAX:-}" = "0-$((SLURM_ARRAY_TASK_COUNT - 1))" ] ||
        fail "the array is not 0-N (cure: sbatch --array=0-9, all of it also the second time: what is finished is kept)"
    share=(--share "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT")
fi

srun --kill-on-bad-exit=1 --ntasks-per-node="$HPC_SR_TASKS_PER_NODE" "${HPC_SR_SRUN_OPTIONS[@]}" \
    hpc-sr prepare "$recipe" "${share[@]}" "$@"
