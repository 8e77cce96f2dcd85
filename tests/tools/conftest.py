"""The programs of tools/cluster are no package: they are found by their folder."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "tools/cluster"))
