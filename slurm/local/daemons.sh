# shellcheck shell=bash
# What start.sh and stop.sh know about the processes of the cluster in directory $1.

members() { # print the process ids of the daemons and job steps: Slurm's and munge's programs that work in $1
    # A recorded number could come to mean another process, and slurmstepd wipes its environment: the place tells.
    local comm pid
    grep -lxE 'munged|slurmctld|slurmscriptd|slurmd|slurmstepd' /proc/[0-9]*/comm 2>/dev/null | while read -r comm; do
        pid=${comm//[!0-9]/}
        if [ "$(readlink "/proc/$pid/cwd")" = "$1" ]; then echo "$pid"; fi
    done
}

tasks() { # print the process ids of what runs in jobs: it carries the cluster's name, which is never used twice
    local name
    name=$(sed -n 's/^ClusterName=//p' "$1/conf/slurm.conf" 2>/dev/null) || return 0
    grep -lzxF "SLURM_CLUSTER_NAME=$name" /proc/[0-9]*/environ 2>/dev/null | tr -cd '0-9\n'
}

all_alive() { # whether munged, slurmctld and both slurmd run
    local count pid
    count=$(for pid in $(members "$1"); do cat "/proc/$pid/comm"; done 2>/dev/null | grep -cxE 'munged|slurmctld|slurmd')
    [ "$count" -ge 4 ]
}
