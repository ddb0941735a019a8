#!/usr/bin/env bash
#SBATCH --job-name=train_s2x2
#SBATCH --nodes=2
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out
# Train S2x (20 m bands to 10 m) on all GPUs of the nodes; submit from the project's root.
#
#   source slurm/sites/juwels_booster.sh
#   [RECIPE=configs/s2x.yaml] sbatch [--nodes=4 --ntasks-per-node=4] slurm/train_s2x2.sh [key=value ...]
#
# Two minutes before the time is up every rank gets USR1; they save a checkpoint and end. The same command again goes on
# from there, as does a job that Slurm requeues because a node failed. For runs longer than a job may be, submit it
# several times with --dependency=singleton: one goes on after the other, and those too many find nothing to do.
set -eo pipefail # not -u: module functions and activate scripts read unset variables

fail() {
    echo "train_s2x2.sh: $1" >&2
    exit 2
}

recipe=${RECIPE:-configs/s2x.yaml}
[ -f "${SLURM_SUBMIT_DIR:-}/slurm/env.sh" ] || fail "submit it from the project's root: sbatch slurm/train_s2x2.sh"
# shellcheck source=slurm/env.sh
source "$SLURM_SUBMIT_DIR/slurm/env.sh"
[ -f "$recipe" ] || fail "no recipe $PWD/$recipe (cure: RECIPE=configs/NAME.yaml sbatch slurm/train_s2x2.sh)"
gpus=$(nvidia-smi --list-gpus 2>/dev/null | wc -l) || true
[ "$gpus" -ge "$HPC_SR_GPUS_PER_NODE" ] || fail "$gpus GPUs on $SLURMD_NODENAME, $HPC_SR_GPUS_PER_NODE per node expected
  (cure: source slurm/sites/$HPC_SR_SITE.sh before sbatch, and choose a partition with GPUs)"

srun --kill-on-bad-exit=1 --ntasks-per-node="$HPC_SR_TASKS_PER_NODE" "${HPC_SR_SRUN_OPTIONS[@]}" \
    hpc-sr train "$recipe" "$@"
