"""`make down`: removes the cluster, and stops the Docker engine if `make up` started it. The cache stays.

`--cache` (`make clean-cache`) removes the cache too.
"""

import argparse
import shutil

from tools.cluster import kind
from tools.machine import CACHE, StepFailed, fail, lock_cache, print_step
from tools.offline import engine


def main() -> None:
    """Removes the cluster, and also the cache if `--cache` is given. Raises `StepFailed`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", action="store_true", help="remove built programs and images too")
    arguments = parser.parse_args()
    lock_cache()
    remove()
    if arguments.cache:
        _remove_cache()


def remove() -> None:
    """Removes the cluster, and stops our Docker engine if no other cluster uses it. Raises `StepFailed`."""
    kind.delete_cluster()
    if others := kind.cluster_names():
        print_step(f"the Docker engine keeps running, because other clusters use it: {', '.join(others)}")
    else:
        engine.stop()
    print_step("the cluster is removed")


def _remove_cache() -> None:
    if engine.is_ours():
        raise StepFailed(f"other clusters run on the Docker engine whose data is in {CACHE}; remove them first")
    shutil.rmtree(CACHE, ignore_errors=True)


if __name__ == "__main__":
    try:
        main()
    except StepFailed as failure:
        fail(str(failure))
