"""The command line: `livedub COMMAND ...`.

Exit status: 0 done; 1 failed otherwise; 2 bad input or options; 3 weights missing or damaged; 130 interrupted.
"""

import argparse
import shlex
import signal
import sys
import threading
from collections.abc import Sequence
from importlib import metadata
from types import FrameType
from typing import TextIO

from engine.errors import LivedubError
from engine.speech.alignment import ALIGNMENTS
from kernels.memory import keep_large_blocks
from streaming.commands import compile as compiling
from streaming.commands import demo, doctor, dub, enroll, plot, serve, train, weights
from streaming.commands.common import Context
from streaming.engines import Engine, LocalEngine
from streaming.screen import Screen

INTERRUPTED = 130
"""Exit status after ctrl-C or a request to end, as shells use it."""


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    parser = argparse.ArgumentParser(
        prog="livedub",
        description="Edits a talking-head video so that mouth and expression follow another audio track.",
    )
    parser.add_argument("--version", action="version", version=f"livedub {metadata.version('livedub')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in (demo, enroll, dub, serve, weights, compiling, doctor, plot, train):
        command.add(commands)
    return parser


def main(
    argv: Sequence[str] | None = None,
    engine: Engine | None = None,
    stdin: TextIO | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
) -> int:
    """Run one command and give its exit status; the last four arguments are for tests and host programs."""
    words = list(sys.argv[1:] if argv is None else argv)
    if argv is None:
        keep_large_blocks()
    args = build_parser().parse_args(words)
    screen = Screen(args.json, stdout or sys.stdout, stderr or sys.stderr)
    used = engine or LocalEngine(
        getattr(args, "backend", "auto"),
        getattr(args, "encoder", None),
        enroll.unfinished(args),
        getattr(args, "look_ahead", None),
        getattr(args, "alignment", ALIGNMENTS[0]),
    )
    context = Context(screen, used, stdin or sys.stdin, shlex.join(["livedub", *words]))
    before = signal.signal(signal.SIGTERM, _interrupt) if _in_main_thread() else None
    try:
        status: int = args.run(args, context)
        return status
    except LivedubError as error:
        screen.error(error)
        return error.exit_code
    except KeyboardInterrupt:
        screen.warn("interrupted: nothing half-written was left behind")
        return INTERRUPTED
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)


def _in_main_thread() -> bool:
    """Signals can be handled nowhere else."""
    return threading.current_thread() is threading.main_thread()


def _interrupt(number: int, frame: FrameType | None) -> None:
    """A request to end is treated like ctrl-C, so that unfinished files are removed."""
    raise KeyboardInterrupt
