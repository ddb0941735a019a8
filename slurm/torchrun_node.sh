#!/usr/bin/env bash
# On each node, for launch_until_done with LAUNCHER=torchrun: start the node's ranks with torchrun.
#
# In a session of its own, as torchrun would die of the signals that are meant for the ranks. They are passed on: each
# rank that torchrun starts leads a process group.
setsid torchrun --nnodes="$SLURM_STEP_NUM_NODES" --node-rank="$SLURM_NODEID" \
    --nproc-per-node="$HPC_SR_TASKS_PER_NODE" --master-addr="$MASTER_ADDR" --master-port="$MASTER_PORT" \
    --no-python "$HPC_SR_SLURM/tell_code.sh" "$@" &
agent=$!

# shellcheck disable=SC2317 # traps call it
pass_on() { # signal
    local rank
    for rank in $(pgrep --parent "$agent"); do kill -s "$1" -- "-$rank" 2>/dev/null || true; done
}

for signal in TERM USR1 USR2 INT HUP XCPU; do
    # shellcheck disable=SC2064 # the signal of this turn
    trap "pass_on $signal" "$signal"
done
code=0
while kill -0 "$agent" 2>/dev/null; do wait "$agent" && code=0 || code=$?; done
exit "$code"
