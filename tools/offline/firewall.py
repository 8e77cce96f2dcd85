"""Saves this machine's firewall before a Docker engine starts, and undoes the engine's changes afterwards.

When Docker stops, it leaves its bridge, chains and rules in place. The firewall then still drops forwarded
packets that have nothing to do with Docker.
"""

import json
import re
import shlex
import socket
from pathlib import Path

from tools.machine import run, succeeds

IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
TABLES = ("iptables", "ip6tables")
DOCKERS_NAME = re.compile(r"(?<=\s)(DOCKER[A-Z0-9-]*|docker0|br-[0-9a-f]{12})(?=\s|$)")
"""Finds the name of one of Docker's chains or bridges as a word in a rule."""


def save(file: Path) -> None:
    """Writes the firewall's state to the file, unless the file already has a state from this boot.

    If the file has such a state, an engine was killed after that state was saved. A new state would contain the
    rules of that engine.
    """
    boot = BOOT_ID.read_text().strip()
    if file.exists() and json.loads(file.read_text())["start"] == boot:
        return
    before = {
        "start": boot,
        "rules": {command: _rules(command) for command in TABLES},
        "links": _links(),
        "forwarding": IP_FORWARD.read_text().strip(),
    }
    file.write_text(json.dumps(before))


def restore(file: Path) -> None:
    """Removes what Docker has added since `save`, and nothing else. Then removes the file."""
    before = json.loads(file.read_text())
    # A reboot has reset the firewall already.
    if before["start"] != BOOT_ID.read_text().strip():
        file.unlink()
        return
    for command in TABLES:
        for arguments in undo_arguments(before["rules"][command], _rules(command)):
            run(command, *arguments)
    for link in set(_links()) - set(before["links"]):
        if link == "docker0" or re.fullmatch(r"br-[0-9a-f]{12}", link):
            run("ip", "link", "delete", link)
    IP_FORWARD.write_text(before["forwarding"])
    file.unlink()


def undo_arguments(before: str, after: str) -> list[list[str]]:
    """Returns arguments of iptables that remove Docker's rules and chains from `after`, except those in `before`.

    `before` and `after` are outputs of `iptables-save`. iptables needs the arguments in this order, because a
    chain can be deleted only when it is empty and no rule leads to it.
    """
    old_lines = set(_lines(before))
    rules, flushes, chains, policies = [], [], [], []
    for table, line in _lines(after):
        if (table, line) in old_lines:
            continue
        words = shlex.split(line)
        if (words[0] == "-A" and DOCKERS_NAME.search(line)) or _is_hairpin_rule(line):
            rules.append(["-t", table, "-D", *words[1:]])
        elif words[0].startswith(":DOCKER"):
            flushes.append(["-t", table, "-F", words[0][1:]])
            chains.append(["-t", table, "-X", words[0][1:]])
        elif words[:2] == [":FORWARD", "DROP"]:
            policies.append(["-t", table, "-P", "FORWARD", "ACCEPT"])
    return rules + flushes + chains + policies


def _is_hairpin_rule(line: str) -> bool:
    """Returns whether a rule lets a container reach its own published port.

    Such a rule contains only addresses, not the name of Docker.
    """
    return re.fullmatch(r"-A POSTROUTING -s (\S+) -d \1 -p \w+ -m \w+ --dport \d+ -j MASQUERADE", line) is not None


def _lines(saved: str) -> list[tuple[str, str]]:
    """Returns the chains and rules without their counters. Each comes with the name of its table."""
    table, lines = "", []
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith((":", "-A")):
            lines.append((table, re.sub(r" \[\d+:\d+\]$", "", line)))
    return lines


def _rules(command: str) -> str:
    return run(f"{command}-save") if succeeds(f"{command}-save") else ""


def _links() -> list[str]:
    return [name for _, name in socket.if_nameindex()]
