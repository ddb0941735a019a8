#!/usr/bin/env bash
# Start a private two-node Slurm cluster on this host, all of it inside one directory.
#
#   slurm/local/start.sh [--hosts] [DIR]      default: ${TMPDIR:-/tmp}/hpc_sr_slurm
#   source DIR/env.sh                         sinfo, sbatch and srun of this shell now speak to it
#   slurm/local/stop.sh [DIR]
#
# With --hosts, the nodes have their own addresses and host names, in network namespaces, and slurm/local/link.sh cuts
# one off the network; otherwise both are this host.
#
# Needs root and Debian's packages slurm-wlm, munge and, for --hosts, iproute2. No file outside DIR is written, no
# service manager is needed, and several clusters in different directories do not meet. Starting again is harmless.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd)
interface=lo
if [ "${1:-}" = --hosts ]; then
    interface=e0
    shift
fi
dir=${1:-${TMPDIR:-/tmp}/hpc_sr_slurm}
patience_s=30
node_timeout_s=300 # Slurm's default: a busy machine may be slow to answer

fail() {
    printf 'start.sh: %s\n' "$1" >&2
    exit 1
}

# shellcheck source=slurm/local/daemons.sh
source "$here/daemons.sh"
# shellcheck source=slurm/local/hosts.sh
source "$here/hosts.sh"

free_ports() { # print the first of $1 neighbouring TCP ports that nobody listens on, below the ephemeral range
    local first port try
    for try in {1..50}; do
        first=$((20000 + RANDOM % 12000))
        for ((port = first; port < first + $1; port++)); do
            (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && continue 2
        done
        echo "$first"
        return
    done
    fail "no $1 free neighbouring ports found in $try attempts between 20000 and 32000"
}

launch() { # start a daemon in a session of its own, so that neither a closing terminal nor a CI step's end reaches it
    local name=$1
    shift
    (cd "$dir" && exec setsid "$@" </dev/null >"log/$name.log" 2>&1) &
}

[ "$(id -u)" -eq 0 ] || fail "runs as root only: slurmd starts jobs as other users (cure: sudo $0 $dir, or a container)"
for tool in munged slurmctld slurmd sinfo setsid; do
    command -v "$tool" >/dev/null || fail "$tool is not installed (cure: apt-get install slurm-wlm munge)"
done
[ "$interface" = lo ] || command -v ip >/dev/null || fail "ip is not installed (cure: apt-get install iproute2)"
mkdir -p -- "$dir" && dir=$(cd -- "$dir" >/dev/null && pwd -P)
# Slurm and PMIx put Unix sockets some 40 characters below, whose paths end at 107; slurm.conf has no quotes.
[[ $dir =~ ^[A-Za-z0-9/._-]{1,60}$ ]] ||
    fail "$dir is longer than 60 characters or has others than letters, digits and /._- (cure: another DIR)"

if [ -f "$dir/env.sh" ] && all_alive "$dir"; then
    grep -qxF "export HPC_SR_LOCAL_INTERFACE=$interface" "$dir/env.sh" ||
        fail "the cluster of the other form runs in $dir (cure: $here/stop.sh $dir)"
    echo "already running; next: source $dir/env.sh"
    exit 0
fi
[ -z "$(ls -A "$dir")" ] || grep -qs '^ClusterName=hpc_sr_' "$dir/conf/slurm.conf" ||
    fail "$dir is not empty and not of an earlier cluster, whose files would be removed (cure: another DIR)"
"$here/stop.sh" "$dir" >/dev/null # what an earlier cluster left: stale files, or some of its daemons

# A cluster always starts empty: jobs and node states of an earlier one would only confuse.
rm -rf "$dir"/{conf,gpu,log,munge,run,state,spool.n1,spool.n2,tmp.n1,tmp.n2,env.sh}
mkdir "$dir"/{conf,gpu,log,munge,run,state,spool.n1,spool.n2,tmp.n1,tmp.n2}
(umask 077 && head -c 1024 /dev/urandom >"$dir/munge/key")

host=$(uname -n)
port=$(free_ports 3)
memory_mb=$(awk '/^MemTotal/ {print int($2 / 1024)}' /proc/meminfo)
node_words="NodeAddr=127.0.0.1 NodeHostname=localhost"
controller=127.0.0.1
if [ "$interface" = e0 ]; then
    network=$(make_hosts "$dir") || {
        "$here/stop.sh" "$dir" >/dev/null
        fail "no network for the hosts, see above (cure: the right to make network namespaces and bridges)"
    }
    node_words="NodeAddr=$network.[11-12] NodeHostname=n[1-2]"
    controller=$network.1
    node_timeout_s=10
fi
# cred_expire is also the time that a requeued job waits before it starts again (120 s by default).
# TmpFS per node: without it the second node's PMIx plugin finds the first one's directory in its way.
# config_overrides: the nodes promise more processors than the host may have; nothing is bound, so they share.
cat >"$dir/conf/slurm.conf" <<CONF
ClusterName=hpc_sr_$(date +%s)_$$
MailProg=/bin/true
SlurmctldHost=${host%%.*}($controller)
SlurmctldPort=$port
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$dir/munge/socket,cred_expire=15
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=2,bf_interval=2
ReturnToService=2
KillWait=5
SlurmdTimeout=$node_timeout_s
MpiDefault=pmix
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool.%n
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/%n.pid
TmpFS=$dir/tmp.%n
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=DEFAULT CPUs=4 RealMemory=$memory_mb Gres=gpu:4
NodeName=n[1-2] $node_words Port=[$((port + 1))-$((port + 2))]
PartitionName=local Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
# Slurm forgets GPUs without a device file, so each is a link to /dev/null: `--gres=gpu:4` is granted, for nothing.
for gpu in 0 1 2 3; do ln -s /dev/null "$dir/gpu/$gpu"; done
echo "NodeName=n[1-2] Name=gpu File=$dir/gpu/[0-3]" >"$dir/conf/gres.conf"

export SLURM_CONF=$dir/conf/slurm.conf
launch munged munged --foreground --force --num-threads=2 --socket="$dir/munge/socket" --key-file="$dir/munge/key" \
    --log-file="$dir/munge/log" --pid-file="$dir/munge/pid" --seed-file="$dir/munge/seed"
launch slurmctld slurmctld -D -c
for node in n1 n2; do
    place=()
    # Not `ip netns exec`: it mounts /sys anew, in which slurmd then misses its control groups.
    # shellcheck disable=SC2016
    [ "$interface" = lo ] || place=(unshare --uts sh -c 'hostname "$1"; shift; exec "$@"' sh "$node"
        nsenter --net="/run/netns/$(network_of "$dir")-$node")
    launch "$node" "${place[@]}" slurmd -D -N "$node"
done

SECONDS=0
while [ "$SECONDS" -lt "$patience_s" ]; do
    if [ "$(timeout 5 sinfo --noheader --Node --responding --states=idle 2>/dev/null | wc -l)" -eq 2 ]; then
        {
            echo "export SLURM_CONF=$SLURM_CONF"
            echo "export HPC_SR_LOCAL_INTERFACE=$interface"
            printf 'source %q\n' "$(dirname "$here")/sites/local.sh"
        } >"$dir/env.sh"
        echo "two nodes are idle; next: source $dir/env.sh"
        exit 0
    fi
    sleep 0.1
done
timeout 5 sinfo --Node --long >&2 || true
tail -n 5 "$dir"/log/*.log >&2
"$here/stop.sh" "$dir" >&2
fail "the nodes were not idle within $patience_s s (cure: mend what the logs above name; the whole: $dir/log)"
