"""Build a kind node image from Debian's packages and Kubernetes' own source, where no image can be pulled.

    python3 tools/node-image/build.py --binaries DIR --tag waypost/node:v1.34.4 --base waypost/node-base:bookworm

Needs a Docker engine whose runtime allows `--privileged` (see tools/bounded-runtime), mmdebstrap, and in DIR the
binaries that tools/cluster-binaries pins. Prints what it does; ends with status 1 and one line where a step fails.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
BASE_PACKAGES = (
    "systemd,systemd-sysv,dbus,containerd,runc,containernetworking-plugins,iptables,nftables,iproute2,conntrack,"
    "ethtool,socat,mount,util-linux,procps,kmod,ca-certificates,jq,curl"
)
ON_THE_NODE = ("kubelet", "kubeadm", "kubectl")


def step(what: str) -> None:
    """Say what comes next, with the seconds since the start."""
    print(f"{time.monotonic() - START:7.1f} s  {what}", flush=True)


def run(*command: str | Path, **options: object) -> str:
    """Run a command; its output. Ends the program with its last words where it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command[:4]))} …: {(done.stderr or done.stdout).strip()[-800:]}")
    return done.stdout.strip()


def have_image(tag: str) -> bool:
    """Whether the engine holds that image."""
    return subprocess.run(["docker", "image", "inspect", tag], capture_output=True, check=False).returncode == 0


def base_image(tag: str) -> None:
    """Debian with what a node runs on."""
    if have_image(tag):
        return
    step("making the base of the node from Debian's packages (about a minute)")
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "base.tar"
        run("mmdebstrap", "--variant=minbase", f"--include={BASE_PACKAGES}", "bookworm", archive)
        run("docker", "import", archive, tag)


def component_images(binaries: Path, base: str, folder: Path) -> list[Path]:
    """An archive for each image that kubeadm will ask for, under the very name it will ask for."""
    version = json.loads(run(binaries / "kubeadm", "version", "-o", "json"))["clientVersion"]["gitVersion"]
    wanted = run(binaries / "kubeadm", "config", "images", "list", "--kubernetes-version", version).splitlines()
    archives = []
    for name in wanted:
        component = name.rpartition("/")[2].partition(":")[0]
        step(f"image {component}")
        context = folder / component
        context.mkdir()
        shutil.copy2(binaries / component, context / component)
        needs_iptables = component == "kube-proxy"
        (context / "Dockerfile").write_text(
            f"FROM {base if needs_iptables else 'scratch'}\n"
            f"COPY {component} /usr/local/bin/{component}\n"
            'ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n'
            + ("" if component in ("etcd", "kube-proxy") or component.startswith("kube-")
               else f'ENTRYPOINT ["/usr/local/bin/{component}"]\n')
        )  # fmt: skip
        run("docker", "build", "--quiet", "--tag", name, context)
        archive = folder / f"{component}.tar"
        run("docker", "save", "--output", archive, name)
        archives.append(archive)
    return archives


def node_image(binaries: Path, base: str, tag: str) -> None:
    """The base, Kubernetes on it, and every image already unpacked nowhere but in containerd's store."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        archives = component_images(binaries, base, folder)
        version = json.loads(run(binaries / "kubeadm", "version", "-o", "json"))["clientVersion"]["gitVersion"]
        images = run(binaries / "kubeadm", "config", "images", "list", "--kubernetes-version", version).splitlines()
        pause = next(name for name in images if "/pause:" in name)
        step("the node's files")
        context = folder / "node"
        shutil.copytree(HERE / "files", context / "files")
        config = context / "files/etc/containerd/config.toml"
        config.write_text(config.read_text().replace("@PAUSE_IMAGE@", pause))
        (context / "files/kind/version").write_text(version)
        (context / "files/usr/bin").mkdir(parents=True)
        for name in ON_THE_NODE:
            shutil.copy2(binaries / name, context / "files/usr/bin" / name)
        (context / "Dockerfile").write_text(
            f"FROM {base}\n"
            "COPY files/ /\n"
            "RUN systemctl enable containerd kubelet && systemctl mask getty.target console-getty.service"
            " systemd-logind.service systemd-udevd.service && rm -f /etc/machine-id"
            f" && mkdir -p {' '.join(f'/var/lib/volumes/{number}' for number in range(1, 7))}\n"
            "ENV container=docker\n"
            "STOPSIGNAL SIGRTMIN+3\n"
            'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]\n'
        )
        run("docker", "build", "--quiet", "--tag", f"{tag}-empty", context)
        step("importing the images into the node")
        container = run(
            "docker", "run", "--detach", "--privileged", "--entrypoint", "/usr/bin/containerd",
            "--volume", f"{folder}:/archives:ro", f"{tag}-empty",
        )  # fmt: skip
        try:
            wait_for_containerd(container)
            for archive in archives:
                run("docker", "exec", container, "ctr", "--namespace", "k8s.io", "images", "import", "--no-unpack",
                    f"/archives/{archive.name}")  # fmt: skip
            run("docker", "stop", container)
            run(
                "docker", "commit", "--change", 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]',
                "--change", "CMD []", container, tag,
            )  # fmt: skip
        finally:
            run("docker", "rm", "--force", "--volumes", container)
            run("docker", "image", "rm", "--force", f"{tag}-empty", *images)


def wait_for_containerd(container: str) -> None:
    """Until containerd answers; at most 30 s."""
    deadline = time.monotonic() + 30
    while subprocess.run(["docker", "exec", container, "ctr", "version"], capture_output=True, check=False).returncode:
        if time.monotonic() > deadline:
            sys.exit("containerd in the node does not answer: " + run("docker", "logs", container)[-400:])
        time.sleep(0.3)


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binaries", type=Path, required=True)
    parser.add_argument("--tag", required=True)
    parser.add_argument("--base", default="waypost/node-base:bookworm")
    arguments = parser.parse_args()
    if have_image(arguments.tag):
        step(f"{arguments.tag} is there already")
        return
    base_image(arguments.base)
    node_image(arguments.binaries, arguments.base, arguments.tag)
    step(f"{arguments.tag} is ready")


START = time.monotonic()

if __name__ == "__main__":
    main()
