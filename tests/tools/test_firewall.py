"""Tests that the changes that our Docker engine makes to the firewall are undone, and no other changes."""

import pytest

from tools.offline import firewall

BEFORE = """
*filter
:INPUT ACCEPT [5:300]
:FORWARD ACCEPT [0:0]
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
COMMIT
"""
AFTER = """
*filter
:INPUT ACCEPT [9:500]
:FORWARD DROP [0:0]
:DOCKER - [0:0]
:somebody - [0:0]
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A INPUT -p tcp -m tcp --dport 443 -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i br-0123456789ab -o br-0123456789ab -j ACCEPT
-A FORWARD -i br-guests -j ACCEPT
COMMIT
*nat
:POSTROUTING ACCEPT [0:0]
-A POSTROUTING -s 172.19.0.2/32 -d 172.19.0.2/32 -p tcp -m tcp --dport 6443 -j MASQUERADE
-A POSTROUTING -s 10.0.0.0/8 -j MASQUERADE
COMMIT
"""


def test_rules_are_deleted_before_the_chains_that_they_lead_to() -> None:
    """Rules are deleted before the chains to which they lead. Forwarding is allowed again last.

    A chain can only be deleted once it is empty and no rule leads to it.
    """
    assert [" ".join(undo) for undo in firewall.undo_arguments(BEFORE, AFTER)] == [
        "-t filter -D FORWARD -o docker0 -j DOCKER",
        "-t filter -D FORWARD -i br-0123456789ab -o br-0123456789ab -j ACCEPT",
        "-t nat -D POSTROUTING -s 172.19.0.2/32 -d 172.19.0.2/32 -p tcp -m tcp --dport 6443 -j MASQUERADE",
        "-t filter -F DOCKER",
        "-t filter -X DOCKER",
        "-t filter -P FORWARD ACCEPT",
    ]


def test_docker_rules_from_before_our_engine_stay() -> None:
    """Docker's rules that existed before our engine started stay.

    The machine's own Docker engine may be stopped for the moment, and needs its chains later.
    """
    assert firewall.undo_arguments(AFTER, AFTER) == []


@pytest.mark.parametrize("policy", ["DROP", "ACCEPT"])
def test_a_policy_that_docker_did_not_set_stays(policy: str) -> None:
    """A policy that Docker did not set stays. A machine that dropped forwarded packets before still drops them."""
    before = f"*filter\n:FORWARD {policy} [0:0]\n"
    assert firewall.undo_arguments(before, before.replace("[0:0]", "[7:420]")) == []


def test_forwarding_is_allowed_again_on_a_machine_that_had_no_rules() -> None:
    """On a machine that never had a firewall, forwarding is allowed again.

    `iptables-save` lists no chain on such a machine, which forwards everything.
    """
    assert firewall.undo_arguments("", "*filter\n:FORWARD DROP [0:0]\n") == [
        ["-t", "filter", "-P", "FORWARD", "ACCEPT"]
    ]
