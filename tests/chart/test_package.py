"""Tests of the package that `helm package` makes."""

import tarfile
from pathlib import Path

from .rendered import CHART
from .rendered import helm as run_helm


def test_the_package_contains_what_installs_and_no_tests(helm: None, tmp_path: Path) -> None:
    """The package contains everything that an install needs.

    It contains neither the test suites nor the values that the suites run with.
    """
    run_helm("package", str(CHART), "--destination", str(tmp_path))
    (package,) = tmp_path.glob("*.tgz")
    with tarfile.open(package) as archive:
        top = {name.split("/")[1] for name in archive.getnames()}

    assert top == {"Chart.yaml", "README.md", "values.yaml", "values.schema.json", ".helmignore", "files", "templates"}
