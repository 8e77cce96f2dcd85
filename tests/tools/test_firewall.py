"""What a Docker engine of ours did to the firewall is undone, and nothing else."""

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


def test_rules_go_before_the_chains_that_they_lead_to() -> None:
    """A chain can be removed only once no rule leads there and it is empty; forwarding is let through again last."""
    assert [" ".join(undo) for undo in firewall.undoing(BEFORE, AFTER)] == [
        "-t filter -D FORWARD -o docker0 -j DOCKER",
        "-t filter -D FORWARD -i br-0123456789ab -o br-0123456789ab -j ACCEPT",
        "-t nat -D POSTROUTING -s 172.19.0.2/32 -d 172.19.0.2/32 -p tcp -m tcp --dport 6443 -j MASQUERADE",
        "-t filter -F DOCKER",
        "-t filter -X DOCKER",
        "-t filter -P FORWARD ACCEPT",
    ]


def test_what_docker_had_made_before_stays() -> None:
    """An engine of the machine's own, stopped for the moment, finds its chains again."""
    assert firewall.undoing(AFTER, AFTER) == []


@pytest.mark.parametrize("policy", ["DROP", "ACCEPT"])
def test_a_policy_that_was_not_dockers_stays(policy: str) -> None:
    """A machine that dropped what is forwarded goes on doing so."""
    before = f"*filter\n:FORWARD {policy} [0:0]\n"
    assert firewall.undoing(before, before.replace("[0:0]", "[7:420]")) == []


def test_forwarding_is_let_through_again_where_there_were_no_rules_at_all() -> None:
    """A machine that never had a firewall lists no chain, and lets everything through."""
    assert firewall.undoing("", "*filter\n:FORWARD DROP [0:0]\n") == [["-t", "filter", "-P", "FORWARD", "ACCEPT"]]
