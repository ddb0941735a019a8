# shellcheck shell=bash disable=SC2034  # slurm/env.sh and the job scripts read what is set here
# What the GPU machines of the Jülich Supercomputing Centre share; juwels*.sh and jureca_dc.sh source it.
#
# Written from apps.fz-juelich.de/jsc/hps/juwels (batch system, affinity, GPUs), the scripts of JSC's and Helmholtz AI's
# courses and easybuilders/JSC (what the modules set); not tried there yet.

command -v module >/dev/null || {
    echo "$HPC_SR_SITE: there is no module command here (cure: source the file of the machine you are on)" >&2
    return 2
}
# At submission too, so that the environment is built with the modules that it will run with.
module --force purge
module load Stages/2025 GCC OpenMPI CUDA/12 cuDNN NCCL MPI-settings/CUDA Python HDF5 mpi4py || return 2

HPC_SR_SLURM=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." >/dev/null && pwd) && export HPC_SR_SLURM
export SBATCH_GRES=gpu:4
unset SBATCH_GPUS_PER_NODE # another site's, sourced earlier in the same shell
if [ -z "${SBATCH_ACCOUNT:-}${SLURM_JOB_ID:-}" ]; then
    echo "$HPC_SR_SITE: no budget yet (cure: export SBATCH_ACCOUNT=<budget>; jutil user projects lists yours)" >&2
fi
[ -n "${SLURM_JOB_ID:-}" ] || return 0

HPC_SR_GPUS_PER_NODE=4
HPC_SR_TASKS_PER_NODE=${HPC_SR_TASKS_PER_NODE:-${SLURM_NTASKS_PER_NODE:-4}}
# The nodes' memory: GPU nodes have no disk to count on. HPC_SR_STAGE= before sbatch reads shards where they are.
HPC_SR_STAGE=${HPC_SR_STAGE-/dev/shm}
# psslurm is JSC's own slurmd and has its own PMIx. Its default binding is the best one (POP's measurements).
HPC_SR_SRUN_OPTIONS=(--mpi=pspmix)
# Otherwise psslurm shows each task one GPU, as device 0, and NCCL loses the paths between the others.
export CUDA_VISIBLE_DEVICES=0,1,2,3
# Compute nodes reach each other over InfiniBand: interface ib0, host names with an i at their end.
export NCCL_SOCKET_IFNAME=ib0 GLOO_SOCKET_IFNAME=ib0
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)i
export MASTER_ADDR
# Links flip now and then: wait longer before giving a run up.
export NCCL_IB_TIMEOUT=50 NCCL_IB_RETRY_CNT=10 UCX_RC_TIMEOUT=4s
# As JSC's own Horovod modules did: their Open MPI is not for several threads.
export HOROVOD_MPI_THREADS_DISABLE=1
