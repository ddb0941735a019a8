# shellcheck shell=bash disable=SC2034  # slurm/env.sh and the job scripts read what is set here
# JURECA-DC, its GPU nodes: 4 A100 (40 GB), 2 x 64 cores.
#
#   source slurm/sites/jureca_dc.sh; sbatch slurm/train_s2x2.sh
#
# `sbatch --partition=dc-gpu-devel --time=01:00:00 ...` for trials: the command line wins over this file.
export HPC_SR_SITE=jureca_dc SBATCH_PARTITION=dc-gpu
# shellcheck source=slurm/sites/jsc.sh
source "$(dirname "${BASH_SOURCE[0]}")/jsc.sh" || return
[ -n "${SLURM_JOB_ID:-}" ] || return 0
HPC_SR_CPUS_PER_TASK=$((128 / HPC_SR_TASKS_PER_NODE))
