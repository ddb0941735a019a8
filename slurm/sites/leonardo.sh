# shellcheck shell=bash disable=SC2034  # slurm/env.sh and the job scripts read what is set here
# Leonardo Booster (CINECA): nodes with 4 A100 (64 GB), 32 cores, 512 GB, HDR. At most 24 hours a job.
#
#   source slurm/sites/leonardo.sh; sbatch slurm/train_s2x2.sh
#
# `sbatch --qos=boost_qos_dbg --time=00:30:00 ...` for trials: the command line wins over this file.
#
# Written from docs.hpc.cineca.it and from job scripts that others run there; not tried.
#
# No modules are loaded here. Load what brings Python 3.10 or newer before you build the environment and before sbatch,
# which takes the shell's environment along. Compute nodes have no internet. Stores and runs belong into $WORK or
# $SCRATCH, as the home directory is small.
export HPC_SR_SITE=leonardo SBATCH_PARTITION=boost_usr_prod SBATCH_GRES=gpu:4
HPC_SR_SLURM=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." >/dev/null && pwd) && export HPC_SR_SLURM
unset SBATCH_GPUS_PER_NODE # another site's, sourced earlier in the same shell
if [ -z "${SBATCH_ACCOUNT:-}${SLURM_JOB_ID:-}" ]; then
    echo "$HPC_SR_SITE: no project yet (cure: export SBATCH_ACCOUNT=<project>; saldo -b lists yours)" >&2
fi
[ -n "${SLURM_JOB_ID:-}" ] || return 0

HPC_SR_GPUS_PER_NODE=4
HPC_SR_TASKS_PER_NODE=${HPC_SR_TASKS_PER_NODE:-${SLURM_NTASKS_PER_NODE:-4}}
HPC_SR_CPUS_PER_TASK=$((32 / HPC_SR_TASKS_PER_NODE))
# Ranks talk over torch.distributed: pmi2 starts them, and an Open MPI that knows pmix need not be there.
HPC_SR_SRUN_OPTIONS=(--mpi=pmi2)
# The nodes' memory: they have no disks. HPC_SR_STAGE= before sbatch reads shards where they are.
HPC_SR_STAGE=${HPC_SR_STAGE-/dev/shm}
export CUDA_VISIBLE_DEVICES=0,1,2,3
# Compute nodes reach each other over InfiniBand: interfaces ib0 to ib3.
export NCCL_SOCKET_IFNAME=ib0 GLOO_SOCKET_IFNAME=ib0
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export MASTER_ADDR
