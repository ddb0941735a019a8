# shellcheck shell=bash
# Two hosts with their own addresses on this machine: a network namespace each, joined by a bridge. The names of it all
# are made from the cluster's directory $1, so that two clusters do not meet and stop.sh finds them without notes.

network_of() { # print the name of the bridge, with which the names of namespaces and links begin
    printf 'sr%08x\n' "$(printf %s "$1" | cksum | cut -d ' ' -f 1)"
}

make_hosts() { # print the first three numbers of the network's addresses; hosts n1 and n2 are .11 and .12, we are .1
    local net node number
    net=$(network_of "$1")
    number=$(free_network) &&
        ip link add "$net" type bridge &&
        ip address add "10.99.$number.1/24" dev "$net" &&
        ip link set "$net" up || return
    for node in 1 2; do
        ip netns add "$net-n$node" &&
            ip link add "${net}n$node" type veth peer name e0 netns "$net-n$node" &&
            ip link set "${net}n$node" master "$net" up &&
            ip -n "$net-n$node" address add "10.99.$number.1$node/24" dev e0 &&
            ip -n "$net-n$node" link set lo up &&
            ip -n "$net-n$node" link set e0 up || return
    done
    echo "10.99.$number"
}

remove_hosts() { # remove what make_hosts made; what is not there is no failure
    local net node
    net=$(network_of "$1")
    for node in 1 2; do
        ip link delete "${net}n$node" 2>/dev/null || true # at once: a namespace keeps its end for as long as it lives
        ip netns delete "$net-n$node" 2>/dev/null || true
    done
    ip link delete "$net" 2>/dev/null || true
}

free_network() { # print a number N such that nothing here is in, or routed to, 10.99.N.0/24
    local number try
    for try in {1..50}; do
        number=$((RANDOM % 256))
        [ -z "$(ip -4 route show root "10.99.$number.0/24")" ] || continue
        echo "$number"
        return
    done
    echo "no free network found in $try attempts between 10.99.0.0 and 10.99.255.0" >&2
    return 1
}
