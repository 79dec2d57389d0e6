"""What the command line shows: results on stdout, everything else on stderr, or one JSON object for machines."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from engine.errors import LivedubError

Report = Callable[[str, int, int], None]
"""Takes (what is being done, how much of it is done, how much there is)."""

_FILE_WIDTH = 160
"""Columns of tables that do not go to a terminal."""


class Screen:
    """One command's output. With `json_output` stdout carries exactly one JSON object, given by `result` or `error`."""

    def __init__(self, json_output: bool, stdout: TextIO, stderr: TextIO) -> None:
        """Write results to `stdout`, progress, warnings and errors to `stderr`."""
        self.json_output = json_output
        self.warnings: list[str] = []
        self._stdout = stdout
        self._out = Console(file=stdout, highlight=False, soft_wrap=True)
        if not self._out.is_terminal:
            self._out.width = _FILE_WIDTH
        self._err = Console(file=stderr, highlight=False, soft_wrap=True)

    def say(self, text: str) -> None:
        """A line for people; kept from stdout when a machine reads it."""
        (self._err if self.json_output else self._out).print(text, markup=False)

    def table(self, title: str, columns: list[str], rows: list[list[str]]) -> None:
        """A table for people; nothing when a machine reads."""
        if self.json_output:
            return
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        for index, column in enumerate(columns):
            table.add_column(column, no_wrap=index == 0)
        for row in rows:
            table.add_row(*(cell.replace("[", r"\[") for cell in row))
        self._out.print(table, soft_wrap=False)

    def warn(self, text: str) -> None:
        """One line about something that went otherwise than asked; also part of the JSON result."""
        self.warnings.append(text)
        self._err.print(f"livedub: warning: {text}", markup=False)

    def error(self, error: LivedubError) -> None:
        """One line about why the command stops."""
        text = " ".join(str(error).split())
        self._err.print(f"livedub: error: {text}", markup=False)
        if self.json_output:
            self._write({"error": {"kind": type(error).__name__, "message": text, "exit_code": error.exit_code}})

    def result(self, values: Mapping[str, Any], text: str) -> None:
        """The command's result: `values` for a machine, `text` for people."""
        if self.json_output:
            self._write({**values, "warnings": self.warnings})
        else:
            self._out.print(text, markup=False)

    def ask(self, question: str, answer: Callable[[], str]) -> str:
        """Put a question to the person at the terminal."""
        self._err.print(question, end=" ", markup=False)
        return answer()

    @contextmanager
    def progress(self) -> Iterator[Report]:
        """Bars on stderr, one for each thing reported; drawn only where stderr is a terminal."""
        tasks: dict[str, TaskID] = {}
        with self._bars(MofNCompleteColumn()) as bars:

            def report(what: str, done: int, total: int) -> None:
                """Draw the bar of `what`, made when it is first heard of."""
                if what not in tasks:
                    tasks[what] = bars.add_task(what, total=total or None)
                bars.update(tasks[what], completed=done, total=total or None)

            yield report

    @contextmanager
    def share(self) -> Iterator[Callable[[str, float], None]]:
        """One bar on stderr for a long run that tells in words where it is, and its share done, 0 to 1."""
        with self._bars(TaskProgressColumn()) as bars:
            task = bars.add_task("", total=1.0)

            def report(text: str, done: float) -> None:
                """Draw the one bar."""
                bars.update(task, description=text, completed=done)

            yield report

    def _bars(self, amount: ProgressColumn) -> Progress:
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), amount)
        hidden = not self._err.is_terminal
        return Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=self._err, disable=hidden)

    def _write(self, values: Mapping[str, Any]) -> None:
        self._stdout.write(json.dumps(values, indent=2, allow_nan=False) + "\n")
        self._stdout.flush()
