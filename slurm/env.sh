# shellcheck shell=bash
# Source this inside a job (batch script or salloc shell): project root, site settings, Python environment, threads.
#
# Read    HPC_SR_SITE  a file of slurm/sites, default local      HPC_SR_VENV  default .venv in the project's root
# Set     by the site: HPC_SR_{GPUS,TASKS}_PER_NODE, HPC_SR_CPUS_PER_TASK, HPC_SR_SRUN_OPTIONS; all exports below

cd "${SLURM_SUBMIT_DIR:?slurm/env.sh is for jobs: sbatch slurm/train_s2x2.sh}" || return 2
site=slurm/sites/${HPC_SR_SITE:=local}.sh
venv=${HPC_SR_VENV:-.venv}
[ -f "$site" ] || {
    echo "no $site (cure: HPC_SR_SITE names a file of slurm/sites)" >&2
    return 2
}
# shellcheck source=/dev/null
source "$site" || return 2
[ -f "$venv/bin/activate" ] || {
    echo "no Python environment $venv in $PWD (cure: make install, or set HPC_SR_VENV)" >&2
    return 2
}
# shellcheck source=/dev/null
source "$venv/bin/activate"

# Since Slurm 22.05 srun does not take over sbatch's --cpus-per-task, but reads this.
export SRUN_CPUS_PER_TASK=$HPC_SR_CPUS_PER_TASK OMP_NUM_THREADS=$HPC_SR_CPUS_PER_TASK
# Parallel file systems often have no locks, and shards are only read or written by one process.
export HDF5_USE_FILE_LOCKING=FALSE
# A rank that is gone ends the run after ten minutes instead of burning the allocation to its end.
export HOROVOD_STALL_CHECK_TIME_SECONDS=60 HOROVOD_STALL_SHUTDOWN_TIME_SECONDS=600

echo "site $HPC_SR_SITE: job $SLURM_JOB_ID (restarts: ${SLURM_RESTART_COUNT:-0}) on $SLURM_JOB_NODELIST," \
    "$HPC_SR_TASKS_PER_NODE tasks per node, $HPC_SR_CPUS_PER_TASK CPUs per task, $VIRTUAL_ENV"
