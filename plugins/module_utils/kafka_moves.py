# Copyright: (c) 2026, The selfhosted.ec2 authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which replicas of Kafka's partitions move where, so that few move and no rack has two of one partition."""

from __future__ import annotations


class Impossible(Exception):
    """The replicas cannot be placed; the text is one sentence."""


def plan(topics, racks, factors, balance=False):
    """Return {(topic, partition): new replicas} for what has to move.

    A replica that lies on a broker that stays is kept where it is. With I(balance) brokers with more replicas than
    others give some away.

    :arg topics: C(topics) of C(kafka.describe_cluster).
    :arg racks: rack by id of the brokers that may have replicas.
    :arg factors: wanted number of replicas by topic; others keep theirs.
    :raises Impossible: a topic needs more replicas than there are brokers.
    """
    current = {
        (name, part["partition"]): list(part["replicas"])
        for name, topic in sorted(topics.items())
        for part in topic["partitions"]
    }
    wanted = {}
    load = dict.fromkeys(racks, 0)
    for replicas in current.values():
        for broker in replicas:
            if broker in load:
                load[broker] += 1
    for key, replicas in current.items():
        factor = factors.get(key[0], len(replicas))
        if factor > len(racks):
            raise Impossible(
                f"topic {key[0]} is to have {factor} replicas, but there are {len(racks)} brokers for them"
            )
        wanted[key] = _place([broker for broker in replicas if broker in racks], factor, racks, load)
    if balance:
        _balance(wanted, racks, load)
    return {key: replicas for key, replicas in wanted.items() if replicas != current[key]}


def _place(kept, factor, racks, load):
    """Return I(factor) brokers: as many of I(kept) as possible, then those with the fewest replicas in other racks."""
    while len(kept) > factor:
        # The first one is the preferred leader and stays.
        gone = max(kept[1:], key=lambda broker: (_twins(kept, broker, racks), load[broker], broker))
        kept = [broker for broker in kept if broker != gone]
        load[gone] -= 1
    while len(kept) < factor:
        used = {racks[broker] for broker in kept}
        free = [broker for broker in racks if broker not in kept]
        new = min(free, key=lambda broker: (racks[broker] in used, load[broker], broker))
        kept = [*kept, new]
        load[new] += 1
    return kept


def _twins(replicas, broker, racks):
    return sum(racks[other] == racks[broker] for other in replicas)


def _balance(wanted, racks, load):
    """Move single replicas from the fullest to the emptiest broker while that evens out."""
    for _step in range(sum(load.values())):
        move = _next_move(wanted, racks, load)
        if move is None:
            return
        key, old, new = move
        wanted[key] = [new if broker == old else broker for broker in wanted[key]]
        load[old] -= 1
        load[new] += 1


def _next_move(wanted, racks, load):
    for old in sorted(load, key=lambda broker: (-load[broker], broker)):
        for new in sorted(load, key=lambda broker: (load[broker], broker)):
            if load[old] - load[new] < 2:
                break
            for key, replicas in wanted.items():
                if old in replicas and new not in replicas:
                    others = {racks[broker] for broker in replicas if broker != old}
                    if racks[new] not in others or racks[old] in others:
                        return key, old, new
    return None


def throttled(moves, topics):
    """Return {topic: (leaders, followers)}: what throttles only the replicas that move, as Kafka writes it."""
    lists = {}
    for (name, partition), replicas in sorted(moves.items()):
        there = topics[name]["partitions"][partition]["replicas"]
        leaders, followers = lists.setdefault(name, ([], []))
        leaders += [f"{partition}:{broker}" for broker in there]
        followers += [f"{partition}:{broker}" for broker in replicas if broker not in there]
    return {name: (",".join(leaders), ",".join(followers)) for name, (leaders, followers) in lists.items()}
