# shellcheck shell=bash disable=SC2034  # slurm/env.sh and the job scripts read what is set here
# JUPITER Booster: nodes with 4 GH200 (96 GB), 4 x 72 Arm cores, 4 x NDR200.
#
#   source slurm/sites/jupiter.sh; sbatch slurm/train_s2x2.sh
#
# `sbatch --time=01:00:00 --nodes=1 ...` for trials. The processors are aarch64: install on a login node of JUPITER,
# as wheels and modules of the other machines do not fit. torch's wheels for aarch64 with CUDA come from PyTorch's own
# index.
#
# Written from apps.fz-juelich.de/jsc/hps/jupiter (configuration, batch system); not tried there yet.
export HPC_SR_SITE=jupiter SBATCH_PARTITION=booster
# shellcheck source=slurm/sites/jsc.sh
source "$(dirname "${BASH_SOURCE[0]}")/jsc.sh" || return
[ -n "${SLURM_JOB_ID:-}" ] || return 0
HPC_SR_CPUS_PER_TASK=$((288 / HPC_SR_TASKS_PER_NODE))
# The host names with an i at their end are of the older machines.
MASTER_ADDR=${MASTER_ADDR%i}
