"""What a Docker engine does to the network of the machine that it runs on, and how that is undone.

Docker leaves its bridge, chains and rules in place when it ends, and drops what is forwarded for anybody else.
"""

import json
import re
import shlex
import socket
from pathlib import Path

from tools.machine import run, works

FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
START = Path("/proc/sys/kernel/random/boot_id")
TABLES = ("iptables", "ip6tables")
OURS = re.compile(r"(?<=\s)(DOCKER[A-Z0-9-]*|docker0|br-[0-9a-f]{12})(?=\s|$)")
"""A chain or a bridge of Docker's, as a word of a rule."""


def save(file: Path) -> None:
    """Keep what is there before an engine starts; once until `restore`, or until this machine starts anew."""
    start = START.read_text().strip()
    if file.exists() and json.loads(file.read_text())["start"] == start:
        return
    before = {
        "start": start,
        "rules": {command: _rules(command) for command in TABLES},
        "links": _links(),
        "forwarding": FORWARDING.read_text().strip(),
    }
    file.write_text(json.dumps(before))


def restore(file: Path) -> None:
    """Remove what Docker made since, and nothing else; and the file."""
    before = json.loads(file.read_text())
    if before["start"] != START.read_text().strip():
        file.unlink()
        return
    for command in TABLES:
        for undo in undoing(before["rules"][command], _rules(command)):
            run(command, *undo)
    for link in set(_links()) - set(before["links"]):
        if link == "docker0" or re.fullmatch(r"br-[0-9a-f]{12}", link):
            run("ip", "link", "delete", link)
    FORWARDING.write_text(before["forwarding"])
    file.unlink()


def undoing(before: str, after: str) -> list[list[str]]:
    """Arguments that take Docker's rules and chains out of `after`, except those of `before`: two `iptables-save`s."""
    there = set(_lines(before))
    rules, emptied, chains, policies = [], [], [], []
    for table, line in _lines(after):
        if (table, line) in there:
            continue
        words = shlex.split(line)
        if (words[0] == "-A" and OURS.search(line)) or _to_a_container(line):
            rules.append(["-t", table, "-D", *words[1:]])
        elif words[0].startswith(":DOCKER"):
            emptied.append(["-t", table, "-F", words[0][1:]])
            chains.append(["-t", table, "-X", words[0][1:]])
        elif words[:2] == [":FORWARD", "DROP"]:
            policies.append(["-t", table, "-P", "FORWARD", "ACCEPT"])
    return rules + emptied + chains + policies


def _to_a_container(line: str) -> bool:
    """A container that reaches itself by its published port; the rule names addresses only."""
    return re.fullmatch(r"-A POSTROUTING -s (\S+) -d \1 -p \w+ -m \w+ --dport \d+ -j MASQUERADE", line) is not None


def _lines(saved: str) -> list[tuple[str, str]]:
    """Chains and rules with their table, without the counters."""
    table, found = "", []
    for line in saved.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith((":", "-A")):
            found.append((table, re.sub(r" \[\d+:\d+\]$", "", line)))
    return found


def _rules(command: str) -> str:
    return run(f"{command}-save") if works(f"{command}-save") else ""


def _links() -> list[str]:
    return [name for _, name in socket.if_nameindex()]
