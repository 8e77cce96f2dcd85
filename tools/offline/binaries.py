"""Builds programs from pinned Go modules.

The module builds the programs that PATH lacks. If no image can be pulled, it also builds Kubernetes itself.

    python -m tools.offline.binaries helm kubeconform

The command builds each program that it names, unless PATH has a version that is new enough or the cache has
the program already. Then it prints the folder of the built programs.
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
from tools.machine import BINARIES, CACHE, StepFailed, fail, lock_cache, print_step, run
from tools.offline.recipes import HERE, KUBERNETES

CLUSTER_MODULE, CHART_MODULE = HERE / "cluster-binaries", HERE / "chart-binaries"


@dataclass(frozen=True)
class Program:
    """A program to build.

    `minutes` is the build time on two cores. It assumes that only the programs before it in `PROGRAMS` are
    compiled already.
    """

    minutes: float
    folder: Path
    package: str = "."
    names: tuple[str, ...] = ()
    """The names that the program goes by besides its own; each becomes a link to it."""


PROGRAMS = {
    "bounded-runtime": Program(0.2, HERE / "bounded-runtime"),
    "pause": Program(0.1, HERE / "node-image", "pause.c"),
    "kubernetes": Program(
        5, CLUSTER_MODULE, "./kubernetes",
        ("kubectl", "kubeadm", "kubelet", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy",
         "etcd"),
    ),
    "coredns": Program(0.2, CLUSTER_MODULE, "./coredns"),
    "kind": Program(0.1, CLUSTER_MODULE, "sigs.k8s.io/kind"),
    "helm": Program(1.2, CHART_MODULE, "helm.sh/helm/v3/cmd/helm"),
    "helm-unittest": Program(0.1, CHART_MODULE, "github.com/helm-unittest/helm-unittest/cmd/helm-unittest"),
    "kubeconform": Program(0.1, CHART_MODULE, "github.com/yannh/kubeconform/cmd/kubeconform"),
    "collector": Program(0.7, HERE / "collector"),
}  # fmt: skip
"""All programs, in the order in which they are built."""

OFFLINE = ("bounded-runtime", "pause", "kubernetes", "coredns", "collector")
"""The programs that the engine, the node and the images are made of; built even if PATH has them."""

COMMANDS = ("kind", "helm", "kubectl")
"""The programs that `make up` itself calls."""

OLDEST = {
    "helm": ((3, 18), ("version", "--template", "{{.Version}}")),
    "kind": ((0, 30), ("version", "--quiet")),
    "kubectl": ((1, 33), ("version", "--client")),
    "kubeconform": ((0, 7), ("-v",)),
}
"""The oldest version that is used from PATH, and the arguments that print it. Any other program is always built."""

# Without debugging information the linker is much faster; no debugger is used on these programs.
BUILD_FLAGS = ("-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false")


def missing_for_cluster(*, offline: bool) -> list[str]:
    """Returns the programs that `make up` has to build, in build order."""
    return missing([*OFFLINE, *COMMANDS] if offline else COMMANDS)


def missing(names: Iterable[str]) -> list[str]:
    """Returns, in build order, the programs that must be built so that the given names can be called.

    Raises `StepFailed` for a name that no program has.
    """
    wanted = set()
    for name in names:
        program = next((key for key, each in PROGRAMS.items() if name == key or name in each.names), None)
        if program is None:
            raise StepFailed(f"{name} is not among the programs that are built here: {', '.join(PROGRAMS)}")
        if not _is_built(program) and not _is_on_path(name):
            wanted.add(program)
    return [name for name in PROGRAMS if name in wanted]


def estimate_minutes(names: Iterable[str]) -> float:
    """Returns how many minutes these programs take to build on two cores."""
    return sum(PROGRAMS[name].minutes for name in names)


def build(names: list[str]) -> None:
    """Builds these programs. Raises `StepFailed`."""
    if not names:
        return
    # `pause` is C; everything else is Go.
    if names != ["pause"] and shutil.which("go") is None:
        raise StepFailed(f"{', '.join(names)} must be built, and Go is not installed; install Go 1.26 or newer")
    BINARIES.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names, 1):
        print_step(f"building {number} of {len(names)}: {name} (about {_format_minutes(PROGRAMS[name].minutes)})")
        _build(name, PROGRAMS[name])


def first_version(output: str) -> tuple[int, int]:
    """Returns the major and minor number of the first version in a program's output, or (0, 0) if there is none."""
    found = re.search(r"(\d+)\.(\d+)", output)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _format_minutes(minutes: float) -> str:
    return f"{minutes:.0f} min" if minutes >= 1 else f"{minutes * 60:.0f} s"


def _is_on_path(name: str) -> bool:
    """Returns whether PATH has a version of a program that was not built here and is new enough.

    If so, removes the program that we built.
    """
    other_folders = os.pathsep.join(
        folder for folder in os.environ["PATH"].split(os.pathsep) if Path(folder).resolve() != BINARIES.resolve()
    )
    program = shutil.which(name, path=other_folders)
    if program is None or name not in OLDEST:
        return False
    oldest, arguments = OLDEST[name]
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if done.returncode or first_version(done.stdout) < oldest:
        return False
    # Built programs come first on PATH, and an outdated one would hide the one that was just found.
    (BINARIES / name).unlink(missing_ok=True)
    return True


def _is_built(name: str) -> bool:
    """Returns whether the cache has this program and the program was built from the current inputs."""
    stamp = _stamp(name)
    names = PROGRAMS[name].names
    return (
        stamp.exists()
        and stamp.read_text() == _input_digest(name)
        and all((BINARIES / each).exists() for each in (name, *names))
    )


def _stamp(name: str) -> Path:
    """Returns the file that stores the digest of a program's inputs."""
    return CACHE / "made-of" / name


def _input_digest(name: str) -> str:
    program = PROGRAMS[name]
    source = program.folder / program.package
    # A package of ours counts with its content; one of somebody else's is pinned by go.mod and go.sum.
    package = source if program.package.startswith(".") or source.is_file() else program.package
    pins = [pin for pin in (program.folder / "go.mod", program.folder / "go.sum") if pin.exists()]
    return digest(*BUILD_FLAGS, KUBERNETES, package, *pins)


def _build(name: str, program: Program) -> None:
    # Built under another name and renamed when complete: processes that run the old program are not disturbed, and an
    # interrupted build is not taken for a finished one.
    new = BINARIES / f".{name}.new"
    if program.package.endswith(".c"):
        run("gcc", "-static", "-O2", "-o", new, program.folder / program.package)
    else:
        run("go", "build", *BUILD_FLAGS, "-ldflags", f"-s -w {_version_flags(program)}", "-o", new, program.package,
            folder=program.folder, CGO_ENABLED="0")  # fmt: skip
    new.replace(BINARIES / name)
    for each in program.names:
        link = BINARIES / each
        link.unlink(missing_ok=True)
        link.symlink_to(name)
    _stamp(name).parent.mkdir(exist_ok=True)
    _stamp(name).write_text(_input_digest(name))


def _version_flags(program: Program) -> str:
    """Returns linker flags that set the versions which programs print.

    Without them kubeadm and kubelet report v0.0.0 and refuse each other.
    """
    major, minor, _ = KUBERNETES.removeprefix("v").split(".")
    variables = {
        "k8s.io/component-base/version.gitVersion": KUBERNETES,
        "k8s.io/component-base/version.gitMajor": major,
        "k8s.io/component-base/version.gitMinor": minor,
        "k8s.io/component-base/version.gitTreeState": "clean",
        "k8s.io/component-base/version.gitCommit": "0" * 40,
        "helm.sh/helm/v3/internal/version.version": _pinned_version("helm.sh/helm/v3", program),
        "helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor": major,
        "helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor": minor,
        "helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor": major,
        "helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor": minor,
        "main.version": _pinned_version("github.com/yannh/kubeconform", program),
    }
    return " ".join(f"-X {name}={value}" for name, value in variables.items() if value)


def _pinned_version(module: str, program: Program) -> str:
    """Returns the version of a module that go.mod requires, or an empty text if go.mod does not require the module."""
    found = re.search(rf"^\s*{re.escape(module)} (\S+)", (program.folder / "go.mod").read_text(), re.MULTILINE)
    return found[1] if found else ""


def main() -> None:
    """Builds the programs that the arguments name. On failure, ends the process with one message."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="program")
    names = parser.parse_args().names
    try:
        # Standard output gets the folder only, so that a shell can use it.
        with contextlib.redirect_stdout(sys.stderr):
            programs = missing(names)
            if programs:
                lock_cache()
                # Another process may have built them while this one waited for the lock.
                programs = missing(names)
                print_step(
                    f"{len(programs)} programs are built now, once: "
                    f"about {_format_minutes(estimate_minutes(programs))} if nothing is cached"
                )
            build(programs)
    except StepFailed as failure:
        fail(str(failure))
    print(BINARIES)


if __name__ == "__main__":
    main()
