"""`make down`: the cluster, and the Docker engine if `make up` started it. What was built stays in the cache."""

import engine
import kind
from machine import step, works


def main() -> None:
    """See the module's text."""
    if works("docker", "info") and works("kind", "version"):
        kind.remove()
    engine.end()
    step("down")


if __name__ == "__main__":
    main()
