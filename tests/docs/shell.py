"""Finds the commands of a shell text, and checks that the things they name exist in this project."""

import re
import shlex
from collections.abc import Iterator, Set
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

from starlette.routing import Match, Route
from typer.main import get_command

from waypost.cli.main import app
from waypost.simulator.app import build as simulator
from waypost.webhook.endpoints import NUMBER_ROUTE

from .documents import ROOT, without_heredocs

OTHERS = frozenset(
    {"apt-get", "base64", "cat", "cd", "cloudflared", "docker", "echo", "export",
     "git", "grep", "kind", "openssl", "read", "rm", "sleep", "sort", "sysctl"}
)  # fmt: skip
"""Programs of other projects that a document may name; what they are given is not looked at, but for files of ours."""

_KEYWORDS = frozenset({"while", "until", "if", "then", "else", "do", "done", "fi", "!"})
_SEPARATORS = frozenset(";|&()\n")
_COMMENT = re.compile(r"(^|\s)#.*$", re.MULTILINE)
_SUFFIXES = frozenset({".yaml", ".yml", ".json", ".py", ".toml", ".lock"})
_FOLDERS = frozenset({"benchmarks", "charts", "crds", "docs", "examples", "services", "tests", "tools"})
_ELSEWHERE = frozenset({"/healthz", "/readyz", "/metrics", "/api/status"})
"""Paths of the probes' server and of the console, neither of which can be asked for its routes."""
_GRAPH = re.compile(r"/v\d+\.\d/.+")
_MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def commands(text: str) -> Iterator[tuple[list[str], list[str]]]:
    """Yields the words of each simple command, together with the files that its output is written to."""
    joined = _COMMENT.sub(r"\1", without_heredocs(text).replace("\\\n", " "))
    lexer = shlex.shlex(joined, posix=True, punctuation_chars=";|&()<>\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
    words: list[str] = []
    written: list[str] = []
    redirect = ""
    for token in [*lexer, ";"]:
        if set(token) <= {"<", ">"}:
            redirect = token
        elif set(token) <= _SEPARATORS:
            while words and (words[0] in _KEYWORDS or re.fullmatch(r"[A-Za-z_]\w*=.*", words[0])):
                del words[0]
            if words:
                yield words, written
            words, written, redirect = [], [], ""
        elif redirect:
            written += [token] if ">" in redirect else []
            redirect = ""
        else:
            words.append(token)


def problems(words: list[str], written: Set[str], *, whole: bool = True) -> list[str]:
    """Returns one problem for each program, file or argument of the command that does not exist.

    `written` holds the files that the reader has created before this command. `whole` is False for a command line
    in running text, which may hold placeholders.
    """
    program, *rest = words
    found = [f"no file {each}" for each in _files(rest) if each not in written and not (ROOT / each).exists()]
    match Path(program).name:
        case "waypost":
            return found + _waypost(rest, whole=whole)
        case "make":
            return found + [f"make {each} does not exist" for each in rest if not _is_made(each)]
        case "python" | "python3" if rest[:1] == ["-m"]:
            return found + ([] if _is_module(rest[1]) else [f"no module {rest[1]}"])
        case "curl":
            return found + _curl(rest)
        case "kubectl" | "helm" | "python" | "python3":
            return found
        case other:
            return found + ([] if other in OTHERS else [f"{other} is no program that a document may name"])


def _files(words: list[str]) -> Iterator[str]:
    """Yields the words that can only be file names. The files belong to the project or to the reader."""
    for word in words:
        name = word.rpartition("=")[2].removeprefix("@")
        if "://" not in word and (name.partition("/")[0] in _FOLDERS or Path(name).suffix in _SUFFIXES):
            yield name


def _is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").exists() or (("." not in name) and find_spec(name) is not None)


def _is_made(word: str) -> bool:
    name, is_variable, _ = word.partition("=")
    if is_variable:
        return re.search(rf"^{re.escape(name)} \?= |\$\({re.escape(name)}\)", _MAKEFILE, re.MULTILINE) is not None
    return re.search(rf"^{re.escape(word)}:", _MAKEFILE, re.MULTILINE) is not None


def _waypost(words: list[str], *, whole: bool) -> list[str]:
    """Checks the arguments of `waypost` with its own command-line parser.

    In running text, only the names of commands and options are checked.
    """
    command: Any = get_command(app)
    rest = list(words)
    while hasattr(command, "commands"):
        if not rest or rest[0].startswith("-"):
            break
        if (command := command.commands.get(rest.pop(0))) is None:
            return [f"no command: waypost {' '.join(words)}"]
    if whole:
        try:
            command.make_context("waypost", rest)
        except Exception as error:  # noqa: BLE001 - whatever the command line says to the reader
            if not {"--help", "--version"} & set(rest):
                return [f"waypost {' '.join(words)}: {error}"]
    known = {"--help", *(option for each in command.params for option in each.opts)}
    used = [each.partition("=")[0] for each in rest if each.startswith("--")]
    return [f"no option: waypost {' '.join(words)}: {each}" for each in used if each not in known]


def _curl(words: list[str]) -> list[str]:
    posts = any(each in ("-d", "--json") or each.startswith("--data") for each in words)
    method = next((new for old, new in pairwise(words) if old in ("-X", "--request")), "")
    method = method or ("POST" if posts else "GET")
    urls = [each for each in words if "://" in each or each.startswith("$")]
    paths = [re.sub(r"^(\w+://[^/]+|\$\{?\w+\}?)", "", each).partition("?")[0] for each in urls]
    ours = [path for path, url in zip(paths, urls, strict=True) if "graph.facebook.com" not in url]
    return [f"no route: {method} {each or '/'}" for each in ours if not _is_served(method, each or "/")]


def _is_served(method: str, path: str) -> bool:
    if path in _ELSEWHERE or _GRAPH.fullmatch(path):
        return True
    scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}
    return any(each.matches(scope)[0] is Match.FULL for each in _ROUTES)


def _of(routes: list[Any]) -> list[Route]:
    """Returns the routes without the simulator's mount of the Graph API, because that mount accepts every path."""
    return [each for each in routes if isinstance(each, Route)]


async def _nothing(*_: Any) -> None: ...


_ROUTES = [*_of(simulator().routes), Route(NUMBER_ROUTE, _nothing, methods=["GET", "POST"])]
