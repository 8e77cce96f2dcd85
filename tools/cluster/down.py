"""`make down`: the cluster, and the Docker engine if `make up` started it. What was built stays in the cache.

`--cache` removes that as well.
"""

import argparse
import shutil

import engine
import kind
from machine import CACHE, StepFailed, fail, step


def main() -> None:
    """See the module's text. Raises `StepFailed`."""
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", action="store_true", help="remove what was built as well")
    arguments = parser.parse_args()
    try:
        main()
        if arguments.cache:
            _forget()
    except StepFailed as failure:
        fail(str(failure))
