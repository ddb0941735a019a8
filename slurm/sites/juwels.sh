# shellcheck shell=bash disable=SC2034  # slurm/env.sh and the job scripts read what is set here
# JUWELS Cluster, its GPU nodes: 4 V100 (16 GB), 2 x 20 cores (80 threads), 192 GB. At most 24 hours a job.
#
#   source slurm/sites/juwels.sh; sbatch slurm/train_s2x2.sh
#
# `sbatch --partition=develgpus --time=01:00:00 ...` for trials: the command line wins over this file.
#
# A V100 (sm_70) is in no default wheel of PyTorch any more: install torch's cu126 build from PyTorch's own index first
# (of torch up to 2.10, cu128 will do, too). `hpc-sr doctor` on a GPU node says whether the one that is installed knows
# the card. It has no bfloat16: with train.precision at auto, float16 with loss scaling is chosen.
export HPC_SR_SITE=juwels SBATCH_PARTITION=gpus
# shellcheck source=slurm/sites/jsc.sh
source "$(dirname "${BASH_SOURCE[0]}")/jsc.sh" || return
[ -n "${SLURM_JOB_ID:-}" ] || return 0
HPC_SR_CPUS_PER_TASK=$((80 / HPC_SR_TASKS_PER_NODE))
