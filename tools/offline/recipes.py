"""Defines the names and contents of the images that cannot be pulled.

An image's tag is a digest of its inputs. An image with other inputs is therefore never used by mistake.
"""

from pathlib import Path

from tools.digests import digest

HERE = Path(__file__).resolve().parent
KUBERNETES = "v1.34.4"
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
"""The chart runs both servers as user 999, and PostgreSQL refuses a user without a name."""

COLLECTOR_DOCKERFILE = """
FROM scratch
COPY collector /collector
ENTRYPOINT ["/collector"]
"""

NODE_BASE = f"waypost/node-base:{digest(DEBIAN, NODE_PACKAGES)}"
NODE_IMAGE = f"waypost/node:{digest(NODE_BASE, HERE / 'node.py', HERE / 'node-image', HERE / 'cluster-binaries')}"
APP_BASE = f"waypost/python:{digest(DEBIAN, APP_PACKAGES)}"
SERVERS_BASE = f"waypost/servers-base:{digest(DEBIAN, SERVER_PACKAGES)}"
SERVERS = f"waypost/servers:{digest(SERVERS_BASE, SERVERS_DOCKERFILE)}"
COLLECTOR = f"waypost/collector:{digest(HERE / 'collector', COLLECTOR_DOCKERFILE)}"
ALL = (NODE_BASE, NODE_IMAGE, APP_BASE, SERVERS_BASE, SERVERS, COLLECTOR)
"""All of them, each after the one that it is based on."""
