"""`make down`: the cluster, and the Docker engine if `make up` started it. What was built stays in the cache.

`--cache` removes that as well.
"""

import argparse
import shutil

from tools.cluster import kind
from tools.machine import CACHE, StepFailed, alone, fail, step
from tools.offline import engine


def main() -> None:
    """See the module's text. Raises `StepFailed`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", action="store_true", help="remove what was built as well")
    arguments = parser.parse_args()
    alone()
    remove()
    if arguments.cache:
        _forget()


def remove() -> None:
    """The cluster, and the engine where it is ours and holds no other. Raises `StepFailed`."""
    kind.remove()
    if others := kind.names():
        step(f"the engine stays, for other clusters are on it: {', '.join(others)}")
    else:
        engine.end()
    step("down")


def _forget() -> None:
    if engine.is_ours():
        raise StepFailed(f"the Docker engine that made these clusters keeps its data in {CACHE}; remove them first")
    shutil.rmtree(CACHE, ignore_errors=True)


if __name__ == "__main__":
    try:
        main()
    except StepFailed as failure:
        fail(str(failure))
