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

# shellcheck source=slurm/env.sh
source "${HPC_SR_SLURM:-${SLURM_SUBMIT_DIR:?this is a job: sbatch slurm/prepare.sh}/slurm}/env.sh" || exit 2

need_recipe configs/s2x.yaml
need_array_from_0
launch hpc-sr prepare "$recipe" ${SLURM_ARRAY_TASK_ID:+--share "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"} "$@"
