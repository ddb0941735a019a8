# shellcheck shell=bash disable=SC2034  # slurm/env.sh and the job scripts read what is set here
# JUWELS Booster: 936 nodes with 4 A100 (40 GB), 2 x 24 cores (96 threads), 512 GB, 4 x HDR200. At most 24 hours a job.
#
#   source slurm/sites/juwels_booster.sh; sbatch slurm/train_s2x2.sh
#
# `sbatch --partition=develbooster --time=01:00:00 ...` for trials: the command line wins over this file.
export HPC_SR_SITE=juwels_booster SBATCH_PARTITION=booster
# shellcheck source=slurm/sites/jsc.sh
source "$(dirname "${BASH_SOURCE[0]}")/jsc.sh" || return
[ -n "${SLURM_JOB_ID:-}" ] || return 0
HPC_SR_CPUS_PER_TASK=$((96 / HPC_SR_TASKS_PER_NODE))
