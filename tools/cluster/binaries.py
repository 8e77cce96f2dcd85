"""Programs built from Go modules: what is missing on PATH, and, where no image can be pulled, Kubernetes itself."""

import shutil
from pathlib import Path

from machine import BINARIES, KUBERNETES, REPOSITORY, StepFailed, run, step

MODULE = REPOSITORY / "tools/cluster-binaries"
INSTALLED = {
    "kind": "sigs.k8s.io/kind@v0.33.0",
    "helm": "helm.sh/helm/v3/cmd/helm@v3.22.0",
    "coredns": "github.com/coredns/coredns@v1.15.0",
}
BUILT = {
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    "etcd": "go.etcd.io/etcd/server/v3",
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kubelet": "k8s.io/kubernetes/cmd/kubelet",
    "kubeadm": "k8s.io/kubernetes/cmd/kubeadm",
    "kube-proxy": "k8s.io/kubernetes/cmd/kube-proxy",
}
OURS = ("bounded-runtime", "collector")
"""Modules of this repository, each in a folder of that name."""

MINUTES = {"kube-apiserver": 7, "kube-controller-manager": 5, "kubectl": 4, "helm": 4, "coredns": 4}
"""Measured on two busy cores with nothing cached; all others together take about five."""

COMMANDS = ("kind", "helm", "kubectl")
"""Used by `make up` itself; one that is on PATH already is used as it is."""


def missing(*, offline: bool) -> list[str]:
    """What is to be built, in that order."""
    wanted = [name for name in COMMANDS if shutil.which(name) is None and not (BINARIES / name).exists()]
    if offline:
        # The node takes its own copies, whatever is on PATH.
        everything = [*BUILT, "coredns", "collector", "bounded-runtime", "pause"]
        wanted += [name for name in everything if name not in wanted and not (BINARIES / name).exists()]
    return wanted


def build(names: list[str]) -> None:
    """Build what is missing. Raises `StepFailed`."""
    if not names:
        return
    if shutil.which("go") is None:
        raise StepFailed(f"{', '.join(names)} must be built, and Go is not installed; install Go 1.26 or newer")
    minutes = sum(MINUTES.get(name, 0.6) for name in names)
    step(f"building {len(names)} programs, once: about {minutes:.0f} minutes with nothing cached")
    BINARIES.mkdir(parents=True, exist_ok=True)
    for name in names:
        step(f"  {name}")
        _build(name, BINARIES / name)


def _build(name: str, target: Path) -> None:
    small = ("-trimpath", "-ldflags")
    if name == "pause":
        run("gcc", "-static", "-O2", "-o", target, REPOSITORY / "tools/node-image/pause.c")
    elif name in OURS:
        run("go", "build", *small, "-s -w", "-o", target, ".", folder=REPOSITORY / "tools" / name, CGO_ENABLED="0")
    elif name in INSTALLED:
        run("go", "install", *small, "-s -w", INSTALLED[name], GOBIN=str(BINARIES), CGO_ENABLED="0")
    else:
        run("go", "build", *small, f"-s -w {_version()}", "-o", target, BUILT[name], folder=MODULE, CGO_ENABLED="0")


def _version() -> str:
    """Without it kubeadm and kubelet call themselves v0.0.0 and refuse each other."""
    _, minor, _ = KUBERNETES.removeprefix("v").split(".")
    values = {
        "gitVersion": KUBERNETES, "gitMajor": "1", "gitMinor": minor, "gitTreeState": "clean", "gitCommit": "0" * 40,
    }  # fmt: skip
    return " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in values.items())
