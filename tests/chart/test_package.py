"""What `helm package` takes along."""

import tarfile
from pathlib import Path

from .rendered import CHART
from .rendered import helm as run_helm


def test_the_package_holds_what_installs_and_nothing_to_test_it_with(helm: None, tmp_path: Path) -> None:
    """Neither the suites nor the values that they are run with."""
    run_helm("package", str(CHART), "--destination", str(tmp_path))
    (package,) = tmp_path.glob("*.tgz")
    with tarfile.open(package) as archive:
        top = {name.split("/")[1] for name in archive.getnames()}

    assert top == {"Chart.yaml", "README.md", "values.yaml", "values.schema.json", ".helmignore", "files", "templates"}
