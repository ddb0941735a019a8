# shellcheck shell=bash disable=SC2034  # slurm/env.sh and the job scripts read what is set here
# LUMI-G: nodes with 4 MI250X, which are 8 GPUs (GCDs) of 64 GB, and 64 cores, of which jobs get 56.
#
#   source slurm/sites/lumi.sh; sbatch slurm/train_s2x2.sh
#
# `sbatch --partition=dev-g --time=01:00:00 ...` for trials, small-g for parts of nodes: the command line wins.
#
# Written from documentation and from scripts that others run there (itwinai, BigScience); not tried.
#
# No modules are loaded or purged here, as LUMI's own stack is one of them. Load what brings Python and PyTorch for ROCm
# before you build the environment and before sbatch, which takes the shell's environment along. RCCL needs the plugin
# aws-ofi-rccl to use the network at full speed, and rocm-smi has to be on the PATH. Without an Open MPI that knows
# Slurm, ranks talk over torch.distributed (comm.backend=auto chooses it), and RCCL goes by the name of nccl.
export HPC_SR_SITE=lumi SBATCH_PARTITION=standard-g SBATCH_GPUS_PER_NODE=8
HPC_SR_SLURM=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." >/dev/null && pwd) && export HPC_SR_SLURM
unset SBATCH_GRES # another site's, sourced earlier in the same shell
if [ -z "${SBATCH_ACCOUNT:-}${SLURM_JOB_ID:-}" ]; then
    echo "$HPC_SR_SITE: no project yet (cure: export SBATCH_ACCOUNT=project_<number>)" >&2
fi
[ -n "${SLURM_JOB_ID:-}" ] || return 0

HPC_SR_GPUS_PER_NODE=8
HPC_SR_TASKS_PER_NODE=${HPC_SR_TASKS_PER_NODE:-${SLURM_NTASKS_PER_NODE:-8}}
HPC_SR_CPUS_PER_TASK=$((56 / HPC_SR_TASKS_PER_NODE))
# The nodes' memory, which counts as the job's: there are no disks. HPC_SR_STAGE= before sbatch reads shards in place.
HPC_SR_STAGE=${HPC_SR_STAGE-/dev/shm}
# Slurm sets ROCR_VISIBLE_DEVICES; binding ranks to the cores next to their GPU is left to SLURM_CPU_BIND.
HPC_SR_SRUN_OPTIONS=(--mpi=pmi2)
# Compute nodes reach each other over Slingshot.
export NCCL_SOCKET_IFNAME=hsn0,hsn1,hsn2,hsn3 GLOO_SOCKET_IFNAME=hsn0 FI_CXI_DEFAULT_CQ_SIZE=131072
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_ADDR
# MIOpen keeps compiled kernels in a data base that the ranks of many nodes must not share.
export MIOPEN_USER_DB_PATH=${TMPDIR:-/tmp}/miopen-$SLURM_JOB_ID
export MIOPEN_CUSTOM_CACHE_DIR=$MIOPEN_USER_DB_PATH
