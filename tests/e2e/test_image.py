"""The image contains what Waypost needs to run, and no build tools."""

import re

import pytest

from tools.cluster import kind, release

from .installed import CommandFailed, Installed, run

MOST_OVER_BASE = 250e6
ABSENT = ("pip", "pip3", "gcc", "cc", "g++", "make", "ld")


def test_the_image_is_small_has_nothing_to_build_with_and_starts_waypost(installed: Installed) -> None:
    """The image adds at most 250 MB to its base, and has neither pip nor a compiler.

    A container of the image runs `waypost` as a user who is not root.
    """
    offline = kind.uses_built_node_image()
    image = release.app_image(offline=offline)
    size, base_size = (
        int(run("docker", "image", "inspect", "--format={{.Size}}", each))
        for each in (image, release.base_image(offline=offline))
    )
    assert size - base_size <= MOST_OVER_BASE
    assert run("docker", "image", "inspect", "--format={{.Config.User}} {{.Config.Entrypoint}}", image) == (
        "10001:10001 [waypost]"
    )
    pod = installed.pods("worker")[0]
    look = f"for tool in {' '.join(ABSENT)}; do command -v $tool; done; waypost --version"
    # The version is all of the output: `command -v` would print the path of each tool that it finds.
    assert re.fullmatch(r"\d+\.\d+\.\d+", installed.kubectl("exec", pod, "--", "sh", "-c", look))
    for module in ("pip", "ensurepip"):
        with pytest.raises(CommandFailed, match=f"No module named '?{module}"):
            installed.kubectl("exec", pod, "--", "python", "-c", f"import {module}")
