"""Programs built from Go modules: what is missing on PATH, and, where no image can be pulled, Kubernetes itself.

    python -m tools.offline.binaries helm kubeconform

builds those that are neither on PATH in a fitting version nor built already, and prints the folder of what was built.
"""

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tools.digests import digest
from tools.machine import BINARIES, CACHE, StepFailed, alone, fail, run, step
from tools.offline.recipes import HERE, KUBERNETES

FOR_CLUSTERS, FOR_CHARTS = HERE / "cluster-binaries", HERE / "chart-binaries"


@dataclass(frozen=True)
class Program:
    """One build. `minutes`: on two cores with nothing cached but what those before it in `PROGRAMS` have compiled."""

    minutes: float
    folder: Path
    package: str = "."
    names: tuple[str, ...] = ()
    """By which it is called; none: by its own."""


PROGRAMS = {
    "bounded-runtime": Program(0.2, HERE / "bounded-runtime"),
    "pause": Program(0.1, HERE / "node-image", "pause.c"),
    "kubernetes": Program(
        5, FOR_CLUSTERS, "./kubernetes",
        ("kubectl", "kubeadm", "kubelet", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy",
         "etcd"),
    ),
    "coredns": Program(0.2, FOR_CLUSTERS, "./coredns"),
    "kind": Program(0.1, FOR_CLUSTERS, "sigs.k8s.io/kind"),
    "helm": Program(1.2, FOR_CHARTS, "helm.sh/helm/v3/cmd/helm"),
    "helm-unittest": Program(0.1, FOR_CHARTS, "github.com/helm-unittest/helm-unittest/cmd/helm-unittest"),
    "kubeconform": Program(0.1, FOR_CHARTS, "github.com/yannh/kubeconform/cmd/kubeconform"),
    "collector": Program(0.7, HERE / "collector"),
}  # fmt: skip
OFFLINE = ("bounded-runtime", "pause", "kubernetes", "coredns", "collector")
"""What engine, node and images are made of, whatever is on PATH."""

COMMANDS = ("kind", "helm", "kubectl")
"""Used by `make up` itself."""

FITTING = {
    "helm": ((3, 18), ("version", "--template", "{{.Version}}")),
    "kind": ((0, 30), ("version", "--quiet")),
    "kubectl": ((1, 33), ("version", "--client")),
    "kubeconform": ((0, 7), ("-v",)),
}
"""The oldest version that does, and how to ask for it; any other program is always our own."""

# No debugger will look at any of it.
QUICKLY = ("-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false")


def missing(*, offline: bool) -> list[str]:
    """What `make up` has to build, in that order."""
    return lacking([*OFFLINE, *COMMANDS] if offline else COMMANDS)


def lacking(names: Iterable[str]) -> list[str]:
    """The programs to build for these names, in the order of `PROGRAMS`. Raises `StepFailed` for an unknown name."""
    wanted = set()
    for name in names:
        program = next((key for key, each in PROGRAMS.items() if name == key or name in each.names), None)
        if program is None:
            raise StepFailed(f"{name} is not among the programs that are built here: {', '.join(PROGRAMS)}")
        if not _is_current(program) and not _fits(name):
            wanted.add(program)
    return [name for name in PROGRAMS if name in wanted]


def minutes(names: Iterable[str]) -> float:
    """How long these take to build."""
    return sum(PROGRAMS[name].minutes for name in names)


def build(names: list[str]) -> None:
    """Build these of `PROGRAMS`. Raises `StepFailed`."""
    if not names:
        return
    if names != ["pause"] and shutil.which("go") is None:
        raise StepFailed(f"{', '.join(names)} must be built, and Go is not installed; install Go 1.26 or newer")
    BINARIES.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names, 1):
        step(f"building {number} of {len(names)}: {name} (about {_said(PROGRAMS[name].minutes)})")
        _build(name, PROGRAMS[name])


def version_in(said: str) -> tuple[int, int]:
    """Major and minor of the first version in what a program says of itself; (0, 0) where it says none."""
    found = re.search(r"(\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _said(length: float) -> str:
    return f"{length:.0f} min" if length >= 1 else f"{length * 60:.0f} s"


def _fits(name: str) -> bool:
    """Whether one that is not ours is on PATH, in a version that does."""
    others = os.pathsep.join(
        folder for folder in os.environ["PATH"].split(os.pathsep) if Path(folder).resolve() != BINARIES.resolve()
    )
    program = shutil.which(name, path=others)
    if program is None or name not in FITTING:
        return False
    oldest, question = FITTING[name]
    done = subprocess.run([program, *question], capture_output=True, text=True, check=False)
    if done.returncode or version_in(done.stdout) < oldest:
        return False
    # Ours come first on PATH, and this one is no longer what it should be.
    (BINARIES / name).unlink(missing_ok=True)
    return True


def _is_current(name: str) -> bool:
    """Whether it was built of what it would be built of today."""
    stamp = _stamp(name)
    names = PROGRAMS[name].names
    return (
        stamp.exists()
        and stamp.read_text() == _made_of(name)
        and all((BINARIES / each).exists() for each in (name, *names))
    )


def _stamp(name: str) -> Path:
    return CACHE / "made-of" / name


def _made_of(name: str) -> str:
    program = PROGRAMS[name]
    source = program.folder / program.package
    inside = source if program.package.startswith(".") or source.is_file() else program.package
    pins = [pin for pin in (program.folder / "go.mod", program.folder / "go.sum") if pin.exists()]
    return digest(*QUICKLY, KUBERNETES, inside, *pins)


def _build(name: str, program: Program) -> None:
    # Under another name first: what runs from the old one goes on, and one that was interrupted is not taken for whole.
    new = BINARIES / f".{name}.new"
    if program.package.endswith(".c"):
        run("gcc", "-static", "-O2", "-o", new, program.folder / program.package)
    else:
        run("go", "build", *QUICKLY, "-ldflags", f"-s -w {_versions(program)}", "-o", new, program.package,
            folder=program.folder, CGO_ENABLED="0")  # fmt: skip
    new.replace(BINARIES / name)
    for each in program.names:
        link = BINARIES / each
        link.unlink(missing_ok=True)
        link.symlink_to(name)
    _stamp(name).parent.mkdir(exist_ok=True)
    _stamp(name).write_text(_made_of(name))


def _versions(program: Program) -> str:
    """What they say when asked. Without it kubeadm and kubelet call themselves v0.0.0 and refuse each other."""
    major, minor, _ = KUBERNETES.removeprefix("v").split(".")
    values = {
        "k8s.io/component-base/version.gitVersion": KUBERNETES,
        "k8s.io/component-base/version.gitMajor": major,
        "k8s.io/component-base/version.gitMinor": minor,
        "k8s.io/component-base/version.gitTreeState": "clean",
        "k8s.io/component-base/version.gitCommit": "0" * 40,
        "helm.sh/helm/v3/internal/version.version": _pin("helm.sh/helm/v3", program),
        "helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor": major,
        "helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor": minor,
        "helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor": major,
        "helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor": minor,
        "main.version": _pin("github.com/yannh/kubeconform", program),
    }
    return " ".join(f"-X {name}={value}" for name, value in values.items() if value)


def _pin(module: str, program: Program) -> str:
    """The version that go.mod asks for; empty where it does not."""
    found = re.search(rf"^\s*{re.escape(module)} (\S+)", (program.folder / "go.mod").read_text(), re.MULTILINE)
    return found[1] if found else ""


def main() -> None:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="program")
    try:
        # The folder alone goes to the output, for a shell to take.
        with contextlib.redirect_stdout(sys.stderr):
            needed = lacking(parser.parse_args().names)
            if needed:
                alone()
                needed = lacking(parser.parse_args().names)
                step(f"{len(needed)} programs are built now, once: about {_said(minutes(needed))} with nothing cached")
            build(needed)
    except StepFailed as failure:
        fail(str(failure))
    print(BINARIES)


if __name__ == "__main__":
    main()
