"""The process that loads scripts: `python -m waypost.operator.scripts.child CPU_S MEMORY_MIB`.

It reads scripts from its standard input. For each script it writes an answer to its standard output. The
answer says what is wrong with the script, or is `null`. Scripts and answers are JSON, one line each. `CPU_S`
limits the processor time for one script, and `MEMORY_MIB` limits the memory of the process. The kernel
enforces both limits.
"""

import json
import resource
import sys

from waypost.bot import script
from waypost.operator.scripts import OUT_OF_MEMORY

LONGEST_PROBLEM = 1_000
"""Most characters of an answer. It may name keys of the script, which may be long."""


def main(cpu_s: int, memory_mib: int) -> None:
    """Checks scripts and writes answers until the standard input ends."""
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_DATA, memory_mib << 20)
    for line in sys.stdin.buffer:
        used = resource.getrusage(resource.RUSAGE_SELF)
        # The kernel counts whole seconds since the start of the process.
        _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + cpu_s)
        try:
            problem = _problem(json.loads(line))
        except MemoryError:
            sys.exit(OUT_OF_MEMORY)
        sys.stdout.write(json.dumps(problem) + "\n")
        sys.stdout.flush()


def _problem(text: str) -> str | None:
    try:
        script.load(text)
    except script.ScriptError as error:
        return str(error)[:LONGEST_PROBLEM]
    return None


def _limit(kind: int, most: int) -> None:
    """Sets a limit of this process, but never above the highest limit that the process may set."""
    _, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
