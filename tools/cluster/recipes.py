"""What images are made of, where none can be pulled. Each is tagged by that, so that one made of something else is
never taken for it."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
TOOLS = REPOSITORY / "tools"
HERE = TOOLS / "cluster"
DEBIAN = "bookworm"

NODE_PACKAGES = (
    "systemd,systemd-sysv,dbus,containerd,runc,containernetworking-plugins,iptables,nftables,iproute2,conntrack,"
    "ethtool,socat,mount,util-linux,procps,kmod,ca-certificates,jq,curl"
)
APP_PACKAGES = "python3,python3-venv,ca-certificates,tzdata"
SERVER_PACKAGES = "postgresql-15,redis-server"
SERVERS_DOCKERFILE = """
FROM {base}
RUN useradd --system --no-create-home --uid 999 server
"""
"""The chart runs them as 999, and PostgreSQL wants its user to have a name."""

COLLECTOR_DOCKERFILE = """
FROM scratch
COPY collector /collector
ENTRYPOINT ["/collector"]
"""


def digest(*parts: str | Path) -> str:
    """Twelve digits for texts, files and folders: their content and names, not their place."""
    whole = hashlib.sha256()
    for part in parts:
        for name, content in _contents(part):
            whole.update(f"{len(name)} {len(content)} {name}".encode() + content)
    return whole.hexdigest()[:12]


def _contents(part: str | Path) -> Iterable[tuple[str, bytes]]:
    if isinstance(part, str):
        yield "", part.encode()
    elif part.is_file():
        yield part.name, part.read_bytes()
    else:
        for file in sorted(part.rglob("*")):
            if file.is_file() and file.suffix != ".md" and "__pycache__" not in file.parts:
                yield str(file.relative_to(part)), file.read_bytes()


NODE_BASE = f"waypost/node-base:{digest(DEBIAN, NODE_PACKAGES)}"
NODE_IMAGE = f"waypost/node:{digest(NODE_BASE, HERE / 'node.py', TOOLS / 'node-image', TOOLS / 'cluster-binaries')}"
APP_BASE = f"waypost/python:{digest(DEBIAN, APP_PACKAGES)}"
SERVERS_BASE = f"waypost/servers-base:{digest(DEBIAN, SERVER_PACKAGES)}"
SERVERS = f"waypost/servers:{digest(SERVERS_BASE, SERVERS_DOCKERFILE)}"
COLLECTOR = f"waypost/collector:{digest(TOOLS / 'collector', COLLECTOR_DOCKERFILE)}"
ALL = (NODE_BASE, NODE_IMAGE, APP_BASE, SERVERS_BASE, SERVERS, COLLECTOR)
