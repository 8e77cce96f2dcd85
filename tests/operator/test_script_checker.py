"""Each script is checked once, in a child process with limits. The event loop keeps running."""

import asyncio
import sys
from pathlib import Path

import pytest

from waypost.operator.scripts.checker import ScriptChecker

pytestmark = pytest.mark.anyio

GOOD = "version: 1\nintents: {hello: {keywords: [hello], reply: Hello!}}\n"
NOTED = """
import sys
from waypost.operator.scripts import child
open(sys.argv[1], "a").write("started ")
child.main(int(sys.argv[2]), int(sys.argv[3]))
"""
BUSY = """
import resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (1, 5))
sys.stdin.readline()
while True:
    pass
"""
FAULTY_AT_FIRST = """
import pathlib, sys
notes = pathlib.Path(sys.argv[1])
if not notes.exists():
    notes.touch()
    sys.stdin.readline()
    exec(sys.argv[2])
from waypost.operator.scripts import child
child.main(5, 96)
"""
ENDS_AT_SECOND = """
import sys
sys.stdin.readline()
print("null", flush=True)
sys.stdin.readline()
sys.exit(1)
"""


def good(number: int) -> str:
    """Returns a valid script that is different for each `number`."""
    return f"{GOOD}# {number}\n"


def noted(notes: Path, *, memory_mib: int = 96) -> ScriptChecker:
    """Returns a checker whose child process writes into a file when it starts."""
    return ScriptChecker(command=(sys.executable, "-c", NOTED, str(notes), "5", str(memory_mib)))


def running(code: str) -> ScriptChecker:
    """Returns a checker whose child process runs the given code."""
    return ScriptChecker(command=(sys.executable, "-c", code))


async def test_a_script_has_no_problem_or_one_in_a_sentence() -> None:
    """A valid script has no problem. The problem of an invalid script is described in one sentence.

    The sentence gives the line, the key, the mistake and the remedy, so that the author can correct the script.
    """
    checker = ScriptChecker()
    assert await checker.problem(GOOD) is None
    assert await checker.problem("version: 2\nintents: {}\n") == (
        "line 1, version: must be 1, the only version of the language so far"
    )


async def test_a_script_is_checked_once_however_many_numbers_have_it(tmp_path: Path) -> None:
    """A script is checked only once, even if many numbers use it.

    Numbers that are reconciled at the same time share the check. Numbers that come later use its result.
    """
    checker = noted(tmp_path / "notes")
    assert await asyncio.gather(*(checker.problem(GOOD) for _ in range(5))) == [None] * 5
    assert await checker.problem(GOOD) is None
    assert (tmp_path / "notes").read_text() == "started "


async def test_scripts_that_wait_share_a_process_which_then_ends(tmp_path: Path) -> None:
    """Scripts that wait for a check share one child process, which ends when no script is waiting.

    An operator has many scripts to check at its start, but no child process while no script changes.
    """
    checker = noted(tmp_path / "notes")
    await asyncio.gather(*(checker.problem(good(number)) for number in range(20)))
    assert (tmp_path / "notes").read_text() == "started "
    await checker.problem(good(21))
    assert (tmp_path / "notes").read_text() == "started started "


async def test_the_event_loop_goes_on_while_a_script_takes_too_long() -> None:
    """If a script takes too long, the kernel ends the child process.

    Until then the event loop keeps running. The operator's Lease depends on the loop.
    """
    checker, turns = running(BUSY), 0
    check = asyncio.create_task(checker.problem(GOOD))
    while not check.done():
        await asyncio.sleep(0.01)
        turns += 1
    assert turns > 10
    assert check.result() == "it takes more than 5 s of processor time to load; make it smaller"


async def test_a_script_that_takes_too_much_memory_is_refused(tmp_path: Path) -> None:
    """A script that needs more memory than the child process may use is refused."""
    keywords = [",".join("\ufdfa" * 6 + f"{intent}x{word}" for word in range(200)) for intent in range(50)]
    intents = "\n".join(f" i{number}: {{reply: x, keywords: [{each}]}}" for number, each in enumerate(keywords))
    checker = noted(tmp_path / "notes", memory_mib=32)
    assert await checker.problem(f"version: 1\nintents:\n{intents}\n") == (
        "it takes more than 96 MiB of memory to load; make it smaller"
    )


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("import time; time.sleep(600)", "that took longer than 5 s"),
        ("sys.exit(3)", "the process that loads it ended with status 3"),
    ],
    ids=["too late", "ended"],
)
async def test_a_check_that_fails_for_another_reason_says_so_and_is_repeated(
    tmp_path: Path, fault: str, why: str
) -> None:
    """If a check fails for a reason outside the script, the problem says so and is not cached.

    The next reconcile checks the script again.
    """
    checker = ScriptChecker(
        command=(sys.executable, "-c", FAULTY_AT_FIRST, str(tmp_path / "notes"), fault), deadline_s=5
    )
    assert await checker.problem(GOOD) == f"it was not checked ({why}); the operator tries again at the next reconcile"
    assert await checker.problem(GOOD) is None


async def test_a_child_that_cannot_be_started_is_no_fault_of_the_script() -> None:
    """If the child process cannot be started, the script is reported as not checked, not as wrong.

    A node may have no free process or memory.
    """
    assert await ScriptChecker(command=("/no/such/program",)).problem(GOOD) == (
        "it was not checked (no process can be started: FileNotFoundError); the operator tries again at the next "
        "reconcile"
    )


async def test_a_process_that_ends_after_other_scripts_is_no_verdict(tmp_path: Path) -> None:
    """If a child process ends after it has checked other scripts, the script is checked in a new process.

    The resources that earlier scripts used must not cause the refusal of a later script.
    """
    checker = running(ENDS_AT_SECOND)
    assert await asyncio.gather(*(checker.problem(good(number)) for number in range(3))) == [None] * 3


async def test_a_cancelled_check_does_not_answer_for_the_next_script() -> None:
    """If a check is cancelled, its answer is not used for the next script."""
    checker = ScriptChecker()
    check = asyncio.create_task(checker.problem("version: 2\n"))
    other = asyncio.create_task(checker.problem(GOOD))
    await asyncio.sleep(0)
    check.cancel()
    assert await other is None
