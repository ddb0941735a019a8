#!/usr/bin/env bash
# Cut a host of a private cluster off the network, or join it again.
#
#   slurm/local/link.sh DIR n2 down|up       DIR: of `slurm/local/start.sh --hosts DIR`
#
# Nothing tells the host's programs: as after a pulled cable, what they send gets lost. Slurm takes the node for dead
# after SlurmdTimeout (see DIR/conf/slurm.conf) and takes it back once it answers.
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" >/dev/null && pwd)

fail() {
    printf 'link.sh: %s\n' "$1" >&2
    exit 1
}

# shellcheck source=slurm/local/hosts.sh
source "$here/hosts.sh"

[[ $# -eq 3 && $2 =~ ^n[12]$ && $3 =~ ^(down|up)$ ]] || fail "usage: link.sh DIR n1|n2 down|up"
dir=$(cd -- "$1" >/dev/null && pwd -P)
ip link set "$(network_of "$dir")$2" "$3" ||
    fail "$dir has no host $2 of its own (cure: start the cluster with slurm/local/start.sh --hosts $dir)"
