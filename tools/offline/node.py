"""A kind node image from Debian's packages and Kubernetes' own source, where no image can be pulled.

Needs a Docker engine whose runtime allows `--privileged` (see tools/offline/bounded-runtime), and the programs that
tools/offline/cluster-binaries pins, built.
"""

import shutil
import tempfile
import time
from pathlib import Path

from tools.machine import BINARIES, StepFailed, run, step, works
from tools.offline.recipes import HERE, KUBERNETES, NODE_BASE, NODE_IMAGE

ENTRYPOINT = 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]'
STARTS_WITHIN_S = 60
ON_THE_NODE = ("kubelet", "kubeadm", "kubectl")
VOLUMES = 6
"""Those of files/kind/manifests/default-storage.yaml."""


def build() -> None:
    """Kubernetes on `NODE_BASE`, and in it every image that kubeadm will ask for. Raises `StepFailed`."""
    wanted = run(BINARIES / "kubeadm", "config", "images", "list", "--kubernetes-version", KUBERNETES).splitlines()
    empty = f"{NODE_IMAGE}-empty"
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            step("the images of Kubernetes")
            _components(wanted, folder)
            step("the node")
            _empty(empty, folder / "node", pause=next(name for name in wanted if _component(name) == "pause"))
            run("docker", "save", "--output", folder / "images.tar", *wanted)
            _fill(empty, folder)
    finally:
        run("docker", "image", "rm", "--force", empty, *wanted)


def _component(image: str) -> str:
    return image.rpartition("/")[2].partition(":")[0]


def _components(wanted: list[str], folder: Path) -> None:
    """Under the very names that kubeadm asks for. All but two are one program, kept once however many tags it has."""
    kubernetes = folder / "kubernetes"
    kubernetes.mkdir()
    _put("kubernetes", kubernetes)
    for name in wanted:
        component = _component(name)
        if (BINARIES / component).is_symlink():
            (kubernetes / component).symlink_to("kubernetes")
        else:
            alone = folder / component
            alone.mkdir()
            _put(component, alone)
            dockerfile = f'FROM scratch\nCOPY {component} /{component}\nENTRYPOINT ["/{component}"]\n'
            (alone / "Dockerfile").write_text(dockerfile)
            run("docker", "build", "--quiet", "--tag", name, alone)
    # kube-proxy calls iptables, and the others do not mind it.
    (folder / "Dockerfile").write_text(f"FROM {NODE_BASE}\nCOPY kubernetes/ /usr/local/bin/\n")
    tags = [word for name in wanted if (kubernetes / _component(name)).is_symlink() for word in ("--tag", name)]
    run("docker", "build", "--quiet", *tags, folder)


def _empty(tag: str, folder: Path, *, pause: str) -> None:
    """The node without images."""
    shutil.copytree(HERE / "node-image/files", folder / "files")
    config = folder / "files/etc/containerd/config.toml"
    config.write_text(config.read_text().replace("@PAUSE_IMAGE@", pause))
    (folder / "files/kind/version").write_text(KUBERNETES)
    programs = folder / "files/usr/bin"
    programs.mkdir(parents=True)
    _put("kubernetes", programs)
    for name in ON_THE_NODE:
        (programs / name).symlink_to("kubernetes")
    (folder / "Dockerfile").write_text(
        f"FROM {NODE_BASE}\n"
        "COPY files/ /\n"
        "RUN systemctl enable containerd kubelet && systemctl mask getty.target console-getty.service"
        " systemd-logind.service systemd-udevd.service && rm -f /etc/machine-id"
        f" && mkdir -p {' '.join(f'/var/lib/volumes/{number}' for number in range(1, VOLUMES + 1))}\n"
        "ENV container=docker\n"
        "STOPSIGNAL SIGRTMIN+3\n"
        f"{ENTRYPOINT}\n"
    )
    run("docker", "build", "--quiet", "--tag", tag, folder)


def _fill(empty: str, folder: Path) -> None:
    """`NODE_IMAGE`: the empty node with the images in its containerd's store, packed; it unpacks what it runs."""
    container = run(
        "docker", "run", "--detach", "--privileged", "--entrypoint", "/usr/bin/containerd",
        "--volume", f"{folder}:/archives:ro", empty,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + STARTS_WITHIN_S
        while not works("docker", "exec", container, "ctr", "version"):
            if time.monotonic() > deadline:
                raise StepFailed(f"containerd in the node does not answer: {run('docker', 'logs', container)[-400:]}")
            time.sleep(0.3)
        run("docker", "exec", container, "ctr", "--namespace", "k8s.io", "images", "import", "--no-unpack",
            "/archives/images.tar")  # fmt: skip
        run("docker", "stop", container)
        run("docker", "commit", "--change", ENTRYPOINT, "--change", "CMD []", container, NODE_IMAGE)
    finally:
        run("docker", "rm", "--force", "--volumes", container)


def _put(program: str, folder: Path) -> None:
    """A link where the file system allows one: this is read only."""
    try:
        (folder / program).hardlink_to(BINARIES / program)
    except OSError:
        shutil.copy2(BINARIES / program, folder / program)
