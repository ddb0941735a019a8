# shellcheck shell=bash disable=SC2034  # slurm/env.sh and the job scripts read what is set here
# The private cluster of slurm/local: two nodes that are this host, or hosts of their own in its network namespaces
# (start.sh --hosts), four CPUs each by promise, no GPUs.
#
#   slurm/local/start.sh DIR; source DIR/env.sh (which sources this file); sbatch slurm/train_s2x2.sh
export HPC_SR_SITE=local SBATCH_PARTITION=local
HPC_SR_SLURM=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." >/dev/null && pwd) && export HPC_SR_SLURM
if [ -n "${SLURM_JOB_ID:-}" ] && [[ ${SLURM_CLUSTER_NAME:-} != hpc_sr_* ]]; then
    echo "local: the cluster ${SLURM_CLUSTER_NAME:-without a name} is none of slurm/local/start.sh" \
        "(cure: source the file of slurm/sites that is this machine's before sbatch)" >&2
    return 2
fi
unset SBATCH_ACCOUNT SBATCH_GRES SBATCH_GPUS_PER_NODE # another site's, sourced earlier in the same shell

HPC_SR_GPUS_PER_NODE=0
HPC_SR_TASKS_PER_NODE=${HPC_SR_TASKS_PER_NODE:-${SLURM_NTASKS_PER_NODE:-1}}
HPC_SR_CPUS_PER_TASK=1
HPC_SR_SRUN_OPTIONS=(--mpi=pmix)
# The loopback is the one interface that is always there; Open MPI leaves it out by default. No shared memory (vader):
# it names its segments by host and local rank, and both nodes are the same host.
interface=${HPC_SR_LOCAL_INTERFACE:-lo}
export OMPI_MCA_btl=self,tcp OMPI_MCA_btl_tcp_if_include=$interface GLOO_SOCKET_IFNAME=$interface
# Four CPUs are promised, fewer may be there: ranks that wait let others run.
export OMPI_MCA_mpi_yield_when_idle=1
# n1 and n2 are names of Slurm's, not of the network.
export MASTER_ADDR=127.0.0.1
if [ "$interface" != lo ] && [ -n "${SLURM_JOB_NODELIST:-}" ]; then
    MASTER_ADDR=$(scontrol show node "$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)" |
        sed -n 's/.*NodeAddr=\([^ ]*\).*/\1/p')
fi
