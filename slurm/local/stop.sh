#!/usr/bin/env bash
# Stop the private cluster of one directory, its jobs and hosts included, and nothing else on this host.
#
#   slurm/local/stop.sh [DIR]         default: ${TMPDIR:-/tmp}/hpc_sr_slurm
#
# Logs and outputs stay in DIR. Stopping a cluster that does not run is no error.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd)
dir=${1:-${TMPDIR:-/tmp}/hpc_sr_slurm}
PATH=$PATH:/usr/sbin:/sbin
grace_s=5

# shellcheck source=slurm/local/daemons.sh
source "$here/daemons.sh"
# shellcheck source=slurm/local/hosts.sh
source "$here/hosts.sh"

[ -d "$dir" ] || { echo "nothing runs in $dir"; exit 0; }
dir=$(cd -- "$dir" >/dev/null && pwd -P)
trap 'remove_hosts "$dir"' EXIT # processes keep a network namespace, so after them
rm -f "$dir/env.sh" # start.sh takes this file for the sign of a cluster in order

running() { # print the cluster's process ids; finding none is no failure
    members "$dir" || true
    tasks "$dir" || true
}

left=$(running)
[ -n "$left" ] || { echo "nothing runs in $dir"; exit 0; }
for signal in TERM KILL; do
    for ((tenths = 0; tenths < 10 * grace_s; tenths++)); do
        # Again in every round: a step may start a task while the list is read.
        # shellcheck disable=SC2086
        kill -"$signal" $left 2>/dev/null || true
        sleep 0.1
        left=$(running)
        [ -n "$left" ] || { echo "stopped the cluster in $dir"; exit 0; }
    done
done
# shellcheck disable=SC2086
echo "stop.sh: processes" $left "of $dir outlived SIGKILL (cure: ps -fp shows what they wait for)" >&2
exit 1
