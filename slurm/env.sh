# shellcheck shell=bash
# Source this inside a job (batch script or salloc shell): project root, site settings, Python environment, threads,
# and the functions below, of which the job scripts are made.
#
# Read    HPC_SR_SITE     a file of slurm/sites; sourcing that file before sbatch sets it, and HPC_SR_SLURM: the folder
#                         that holds the file's folder, by which jobs find this file. It need not be the project's.
#         HPC_SR_VENV     default .venv in the project's root
#         HPC_SR_RETRIES  how often in a row a failed training is put back into the queue, default 3
#         LAUNCHER        who starts the ranks of a training: srun (default), or torchrun, one a node
# Set     by the site: HPC_SR_{GPUS,TASKS}_PER_NODE, HPC_SR_CPUS_PER_TASK, HPC_SR_SRUN_OPTIONS, HPC_SR_STAGE (a folder
#         of each node's own that training copies its shards to, if any); all exports below

say() {
    printf '%s: %s\n' "${SLURM_JOB_NAME:-env.sh}" "$1" >&2
}

fail() { # what is wrong (cure: what to do about it)
    say "$1"
    exit 2
}

need_recipe() { # default: set recipe to RECIPE or the default, as a path that no program takes for an option
    recipe=${RECIPE:-$1}
    [ -f "$recipe" ] || fail "no recipe '$recipe' in $PWD (cure: RECIPE=configs/NAME.yaml before the same sbatch command)"
    [[ $recipe != -* ]] || recipe=./$recipe
}

need_launcher() {
    [[ ${LAUNCHER:-srun} =~ ^(srun|torchrun)$ ]] ||
        fail "no launcher '$LAUNCHER' (cure: LAUNCHER=torchrun before sbatch, or nothing, which is srun)"
    command -v "${LAUNCHER:-srun}" >/dev/null || fail "no $LAUNCHER here (cure: make install, which brings it)"
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

launch_training() { # command: run it on all ranks of the job, which tell their exit codes
    if [ "${LAUNCHER:-srun}" = srun ]; then
        launch "$HPC_SR_SLURM/tell_code.sh" "$@"
        return
    fi
    # Another port at each start: what is left of the last one may still hold its own.
    local start=$((SLURM_JOB_ID * 10 + ${SLURM_RESTART_COUNT:-0}))
    export HPC_SR_TASKS_PER_NODE MASTER_PORT=${MASTER_PORT:-$((15000 + start % 15000))}
    export SRUN_CPUS_PER_TASK=$((HPC_SR_CPUS_PER_TASK * HPC_SR_TASKS_PER_NODE))
    srun --kill-on-bad-exit=1 --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 \
        "${HPC_SR_SRUN_OPTIONS[@]}" "$HPC_SR_SLURM/torchrun_node.sh" "$@"
}

launch_until_done() { # command: launch it; if it was stopped or failed, put the job back into the queue
    local code=0 failures=0 cancelled='' step state restarts
    # Ranks write into it while it is there. Clusters that share a file system may have the same job numbers.
    export HPC_SR_CODE_FILE=$PWD/.code-$SLURM_CLUSTER_NAME-$SLURM_JOB_ID
    trap 'rm -f "$HPC_SR_CODE_FILE"' EXIT
    : >"$HPC_SR_CODE_FILE"
    # Cancelled: Slurm may kill this shell before the ranks have ended, so what it would leave behind goes now.
    trap 'cancelled=yes; rm -f "$HPC_SR_CODE_FILE"' TERM
    # Meant for the ranks, but with `--signal=B:...` or `scancel --batch` they come here alone.
    trap 'scancel --signal=USR1 "$SLURM_JOB_ID"' USR1 USR2 INT HUP
    # In the background, as traps have their turn only while this shell waits.
    { trap : TERM USR1 USR2 INT HUP && launch_training "$@"; } &
    step=$!
    while kill -0 "$step" 2>/dev/null; do wait "$step" || true; done
    wait "$step" || code=$?
    [ -z "$cancelled" ] || exit 143
    # A user's error is the smaller one: for it srun ends other ranks by a signal, which tell of that.
    if [ -s "$HPC_SR_CODE_FILE" ]; then code=$(sort -n "$HPC_SR_CODE_FILE" | head -n 1); fi
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
    read -r state restarts <<<"$(squeue --noheader --states=all --jobs="$SLURM_JOB_ID" --Format=State,RestartCnt)"
    if [ "$state $restarts" = "RUNNING ${SLURM_RESTART_COUNT:-0}" ] &&
        scontrol update JobId="$SLURM_JOB_ID" Comment="failures: $failures" && scontrol requeue "$SLURM_JOB_ID"; then
        say "back in the queue"
    else
        say "not put back into the queue (cure: the same sbatch command again goes on from the last checkpoint)"
    fi
    exit "$code"
}

HPC_SR_SLURM=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd) || return 2
export HPC_SR_SLURM
cd -- "${SLURM_SUBMIT_DIR:?slurm/env.sh is for jobs: sbatch slurm/train_s2x2.sh}" || return 2
[ -n "${HPC_SR_SITE:-}" ] || {
    say "no site: nothing tells the nodes' GPUs and network
  (cure: source slurm/sites/NAME.sh before sbatch; for a private cluster on one machine, see slurm/local/start.sh)"
    return 2
}
site=$HPC_SR_SLURM/sites/$HPC_SR_SITE.sh
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
source -- "$venv/bin/activate"

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
