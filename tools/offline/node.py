"""Makes a kind node image from Debian's packages and Kubernetes' source, if no image can be pulled.

This needs a Docker engine whose runtime allows `--privileged` (see bounded-runtime), and the built programs
of cluster-binaries.
"""

import shutil
import tempfile
import time
from pathlib import Path

from tools.machine import BINARIES, StepFailed, print_step, run, succeeds
from tools.offline.recipes import HERE, KUBERNETES, NODE_BASE, NODE_IMAGE

ENTRYPOINT = 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]'
CONTAINERD_TIMEOUT_S = 60
NODE_PROGRAMS = ("kubelet", "kubeadm", "kubectl")
VOLUMES = 6
"""The number of volumes in files/kind/manifests/default-storage.yaml."""


def build() -> None:
    """Makes `NODE_IMAGE`: `NODE_BASE` with Kubernetes and every image that kubeadm needs. Raises `StepFailed`."""
    images = run(BINARIES / "kubeadm", "config", "images", "list", "--kubernetes-version", KUBERNETES).splitlines()
    empty = f"{NODE_IMAGE}-empty"
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            print_step("building the images of Kubernetes")
            _build_component_images(images, folder)
            print_step("building the node")
            pause = next(image for image in images if _component(image) == "pause")
            _build_empty_node(empty, folder / "node", pause_image=pause)
            run("docker", "save", "--output", folder / "images.tar", *images)
            _import_images(empty, folder)
    finally:
        run("docker", "image", "rm", "--force", empty, *images)


def _component(image: str) -> str:
    """Returns the component that an image is for, such as `etcd` for `registry.k8s.io/etcd:3.6.4-0`."""
    return image.rpartition("/")[2].partition(":")[0]


def _build_component_images(images: list[str], folder: Path) -> None:
    """Builds the images under the names that kubeadm asks for.

    All images except CoreDNS and pause contain the same program. They are therefore one image with many tags,
    which is stored once.
    """
    kubernetes = folder / "kubernetes"
    kubernetes.mkdir()
    _put("kubernetes", kubernetes)
    for image in images:
        component = _component(image)
        if (BINARIES / component).is_symlink():
            (kubernetes / component).symlink_to("kubernetes")
        else:
            context = folder / component
            context.mkdir()
            _put(component, context)
            dockerfile = f'FROM scratch\nCOPY {component} /{component}\nENTRYPOINT ["/{component}"]\n'
            (context / "Dockerfile").write_text(dockerfile)
            run("docker", "build", "--quiet", "--tag", image, context)
    # The base is the node's, because kube-proxy calls iptables; it does the other components no harm.
    (folder / "Dockerfile").write_text(f"FROM {NODE_BASE}\nCOPY kubernetes/ /usr/local/bin/\n")
    tags = [word for image in images if (kubernetes / _component(image)).is_symlink() for word in ("--tag", image)]
    run("docker", "build", "--quiet", *tags, folder)


def _build_empty_node(tag: str, folder: Path, *, pause_image: str) -> None:
    """Builds the node without Kubernetes' images."""
    shutil.copytree(HERE / "node-image/files", folder / "files")
    config = folder / "files/etc/containerd/config.toml"
    config.write_text(config.read_text().replace("@PAUSE_IMAGE@", pause_image))
    (folder / "files/kind/version").write_text(KUBERNETES)
    programs = folder / "files/usr/bin"
    programs.mkdir(parents=True)
    _put("kubernetes", programs)
    for name in NODE_PROGRAMS:
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


def _import_images(empty: str, folder: Path) -> None:
    """Makes `NODE_IMAGE`: imports the images into the containerd of the empty node, and commits the container.

    The images stay packed. containerd unpacks an image when it runs the image.
    """
    container = run(
        "docker", "run", "--detach", "--privileged", "--entrypoint", "/usr/bin/containerd",
        "--volume", f"{folder}:/archives:ro", empty,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + CONTAINERD_TIMEOUT_S
        while not succeeds("docker", "exec", container, "ctr", "version"):
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
    """Puts a built program into a build context: as a hard link if the file system allows it, else as a copy."""
    try:
        (folder / program).hardlink_to(BINARIES / program)
    except OSError:
        shutil.copy2(BINARIES / program, folder / program)
