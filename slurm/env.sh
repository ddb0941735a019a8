# shellcheck shell=bash
# Source this inside a job (batch script or salloc shell): project root, site settings, Python environment, threads,
# and the functions below, of which the job scripts are made.
#
# Read    HPC_SR_SITE     a file of slurm/sites, default local
#         HPC_SR_VENV     default .venv in the project's root
#         HPC_SR_RETRIES  how often in a row a failed training is put back into the queue, default 3
# Set     by the site: HPC_SR_{GPUS,TASKS}_PER_NODE, HPC_SR_CPUS_PER_TASK, HPC_SR_SRUN_OPTIONS, HPC_SR_STAGE (a folder
#         of each node's own that training copies its shards to, if any); all exports below

say() {
    echo "${SLURM_JOB_NAME:-env.sh}: $1" >&2
}

fail() { # what is wrong (cure: what to do about it)
    say "$1"
    exit 2
}

need_recipe() {
    [ -f "$1" ] || fail "no recipe $PWD/$1 (cure: RECIPE=configs/NAME.yaml sbatch slurm/$SLURM_JOB_NAME.sh)"
}

need_gpus() {
    local gpus
    if command -v nvidia-smi >/dev/null; then
        gpus=$(nvidia-smi --list-gpus | wc -l) || true
    else
        gpus=$(rocm-smi --showid 2>/dev/null | grep -o '^GPU\[[0-9]*\]' | sort -u | wc -l) || true # several lines a GPU
    fi
    [ "$gpus" -ge "$HPC_SR_GPUS_PER_NODE" ] ||
        fail "$gpus GPUs on $SLURMD_NODENAME, $HPC_SR_GPUS_PER_NODE per node expected
  (cure: source slurm/sites/$HPC_SR_SITE.sh before sbatch, and choose a partition with GPUs)"
}

need_array_from_0() { # unless the job is none of an array
    [ "${SLURM_ARRAY_TASK_MIN:-0}-${SLURM_ARRAY_TASK_MAX:-0}" = "0-$((${SLURM_ARRAY_TASK_COUNT:-1} - 1))" ] ||
        fail "the array is not 0-N (cure: sbatch --array=0-9, all of it also the second time: what is finished is kept)"
}

launch() { # [srun options] command: run it on all ranks of the job
    launch_ranks "$HPC_SR_TASKS" "$@"
}

launch_ranks() { # N [srun options] command: run it on N ranks, on no more nodes than they need
    local ranks=$1 nodes=$((($1 + HPC_SR_TASKS_PER_NODE - 1) / HPC_SR_TASKS_PER_NODE))
    shift
    srun --kill-on-bad-exit=1 --nodes="$nodes" --ntasks="$ranks" --ntasks-per-node="$HPC_SR_TASKS_PER_NODE" \
        "${HPC_SR_SRUN_OPTIONS[@]}" "$@"
}

launch_until_done() { # command: launch it; if it was stopped or failed, put the job back into the queue
    local code=0 failures=0
    export HPC_SR_CODE_FILE=$PWD/.code-$SLURM_JOB_ID
    trap 'rm -f "$HPC_SR_CODE_FILE"; exit 143' TERM # cancelled: it comes to this once the ranks are gone
    rm -f "$HPC_SR_CODE_FILE"
    launch slurm/tell_code.sh "$@" || code=$?
    if [ -s "$HPC_SR_CODE_FILE" ]; then code=$(<"$HPC_SR_CODE_FILE"); fi
    rm -f "$HPC_SR_CODE_FILE"
    case $code in
        0 | 2) exit "$code" ;; # a user's error would be the same the next time
        75) say "stopped by a signal after a checkpoint" ;;
        *)
            # Its comment is all that a job can leave to its next start. Reaching a signal makes it count anew.
            failures=$(($(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%k | sed -n 's/^failures: //p') + 1))
            say "failed with exit code $code, $failures in a row"
            [ "$failures" -le "${HPC_SR_RETRIES:-3}" ] || exit "$code"
            ;;
    esac
    trap '' TERM # by which a requeued job is ended
    # Only if it runs, as Slurm would put back a cancelled job, too; and only this start of it: a node that was cut off
    # and is back may see the next one.
    if scontrol show job --oneliner "$SLURM_JOB_ID" | grep -q "JobState=RUNNING .*Restarts=${SLURM_RESTART_COUNT:-0} " &&
        scontrol update JobId="$SLURM_JOB_ID" Comment="failures: $failures" && scontrol requeue "$SLURM_JOB_ID"; then
        say "back in the queue"
    else
        say "not put back into the queue (cure: the same sbatch command again goes on from the last checkpoint)"
    fi
    exit "$code"
}

cd "${SLURM_SUBMIT_DIR:?slurm/env.sh is for jobs: sbatch slurm/train_s2x2.sh}" || return 2
site=slurm/sites/${HPC_SR_SITE:=local}.sh
venv=${HPC_SR_VENV:-.venv}
[ -f "$site" ] || {
    say "no $site (cure: HPC_SR_SITE names a file of slurm/sites)"
    return 2
}
# shellcheck source=/dev/null
source "$site" || return 2
[ -f "$venv/bin/activate" ] || {
    say "no Python environment $venv in $PWD (cure: make install, or set HPC_SR_VENV)"
    return 2
}
# shellcheck source=/dev/null
source "$venv/bin/activate"

HPC_SR_TASKS=$((SLURM_JOB_NUM_NODES * HPC_SR_TASKS_PER_NODE))
[ "${SLURM_NTASKS:-$HPC_SR_TASKS}" -eq "$HPC_SR_TASKS" ] || {
    say "$SLURM_NTASKS tasks are asked for, but $SLURM_JOB_NUM_NODES nodes x $HPC_SR_TASKS_PER_NODE tasks are $HPC_SR_TASKS
  (cure: sbatch --nodes=N --ntasks-per-node=$HPC_SR_TASKS_PER_NODE, without --ntasks)"
    return 2
}
# Since Slurm 22.05 srun does not take over sbatch's --cpus-per-task, but reads this.
export SRUN_CPUS_PER_TASK=$HPC_SR_CPUS_PER_TASK OMP_NUM_THREADS=$HPC_SR_CPUS_PER_TASK
# Parallel file systems often have no locks, and shards are only read or written by one process.
export HDF5_USE_FILE_LOCKING=FALSE
# A crash in compiled code says where Python was.
export PYTHONFAULTHANDLER=1

echo "site $HPC_SR_SITE: job $SLURM_JOB_ID (restarts: ${SLURM_RESTART_COUNT:-0}) on $SLURM_JOB_NODELIST," \
    "$HPC_SR_TASKS_PER_NODE tasks per node, $HPC_SR_CPUS_PER_TASK CPUs per task, $VIRTUAL_ENV"
