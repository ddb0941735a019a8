# shellcheck shell=bash disable=SC2034  # slurm/env.sh and the job scripts read what is set here
# HoreKa (NHR@KIT), its GPU nodes: 4 A100 (40 GB), 2 x 38 cores (152 threads), 512 GB, HDR.
#
#   source slurm/sites/horeka.sh; sbatch slurm/train_s2x2.sh
#
# `sbatch --partition=dev_accelerated --time=01:00:00 ...` for trials: the command line wins over this file.
#
# Written from www.nhr.kit.edu/userdocs and from job scripts that others run there; not tried.
#
# No modules are loaded here. Load what brings Python 3.10 or newer (and compiler/gnu, devel/cuda, mpi/openmpi for
# Horovod) before you build the environment and before sbatch, which takes the shell's environment along. Stores and
# runs belong into a workspace (ws_allocate), as the home directory is small.
export HPC_SR_SITE=horeka SBATCH_PARTITION=accelerated SBATCH_GRES=gpu:4
HPC_SR_SLURM=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." >/dev/null && pwd) && export HPC_SR_SLURM
unset SBATCH_GPUS_PER_NODE # another site's, sourced earlier in the same shell
if [ -z "${SBATCH_ACCOUNT:-}${SLURM_JOB_ID:-}" ]; then
    echo "$HPC_SR_SITE: no project yet (cure: export SBATCH_ACCOUNT=hk-project-<name>)" >&2
fi
[ -n "${SLURM_JOB_ID:-}" ] || return 0

HPC_SR_GPUS_PER_NODE=4
HPC_SR_TASKS_PER_NODE=${HPC_SR_TASKS_PER_NODE:-${SLURM_NTASKS_PER_NODE:-4}}
HPC_SR_CPUS_PER_TASK=$((152 / HPC_SR_TASKS_PER_NODE))
# Ranks talk over torch.distributed: pmi2 starts them, and an Open MPI that knows pmix need not be there.
HPC_SR_SRUN_OPTIONS=(--mpi=pmi2)
# Each node's own disk, which is emptied after the job. HPC_SR_STAGE= before sbatch reads shards where they are.
HPC_SR_STAGE=${HPC_SR_STAGE-${TMPDIR:-/tmp}}
export CUDA_VISIBLE_DEVICES=0,1,2,3
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_ADDR
