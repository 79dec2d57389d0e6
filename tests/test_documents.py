"""README and ARCHITECTURE are true: the example runs, commands and files exist, figures are the results'."""

import argparse
import json
import re
import tomllib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import LivedubError, dubber
from engine import errors as error_tree
from engine.editing.perceptual import PerceptualLoss
from engine.generators.library import ReadyGenerator
from engine.speech import EMOTIONS, LOOK_AHEADS_MS
from engine.speech.alignment import ALIGNMENTS
from kernels.backends.choice import BACKENDS
from streaming.cli import build_parser
from tests.bench.test_ablation import Voice
from tests.engine.editing.made_perceptual import tiny_perceptual
from tests.engine.editing.made_up import neutral_head
from tests.engine.editing.scripted import (
    ScriptedMesh,
    ScriptedTracker,
    film,
    painted_generator,
    painted_profile,
    plain_statistics,
    tracked,
    video_frame,
)

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
RESULTS = ROOT / "bench" / "results"


def blocks(text: str, language: str) -> list[str]:
    """Code of a language in a document."""
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def table(text: str, head: str) -> list[list[str]]:
    """Rows of the table that begins with a head cell; escaped bars stay within their cell."""
    rows = re.search(rf"^\| {head} \|.*\n\|[-| :]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert rows is not None, f"there is no table that begins with {head!r}"
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows[1].splitlines()]


def commands() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command, those of commands within commands by both words."""

    def within(parser: argparse.ArgumentParser, before: str) -> dict[str, argparse.ArgumentParser]:
        found: dict[str, argparse.ArgumentParser] = {}
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, inner in action.choices.items():
                    found[f"{before}{name}"] = inner
                    found |= within(inner, f"{before}{name} ")
        return found

    return within(build_parser(), "")


def test_the_python_example_edits_a_clip_and_shows_every_picture_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the painted speaker and scripted speech; what is not in the example is what it says a host program has."""
    [example] = blocks(README, "python")
    perceptual: PerceptualLoss = tiny_perceptual(tmp_path)
    ready = ReadyGenerator("painted", painted_generator(), plain_statistics(), (None, None))  # type: ignore[arg-type]
    networks = dubber._Networks(ready, perceptual, ScriptedMesh())
    faces = [tracked(neutral_head()), None, tracked(neutral_head())]
    monkeypatch.setattr(dubber, "_networks", lambda name: networks)
    monkeypatch.setattr(dubber, "load_speech_model", lambda limit_ms: Voice())
    monkeypatch.setattr(dubber, "create_tracker", lambda kind: ScriptedTracker(faces))
    painted_profile().save(tmp_path / "ann.safetensors")
    monkeypatch.chdir(tmp_path)
    frames = [video_frame(film(np.zeros(8)), index) for index in range(3)]
    shown: list[tuple[Any, bool, str]] = []
    given = {
        "samples": np.zeros(16000, np.float32),
        "frames": frames,
        "show": lambda frame, edited, reason: shown.append((frame, edited, reason)),
    }
    exec(compile(example, "README.md", "exec"), given)  # noqa: S102 - the example itself
    assert [frame.pts for frame, _, _ in shown] == [0, 1, 2]
    assert [(edited, reason) for _, edited, reason in shown] == [(True, "edited"), (False, "no_face"), (True, "edited")]
    assert all(np.array_equal(a, b) for a, b in zip(shown[1][0].planes, frames[1].planes, strict=True))
    assert not np.array_equal(shown[2][0].planes[0], frames[2].planes[0])
    assert shown[0][0].time_base == Fraction(1, 25)


def test_the_commands_in_shell_blocks_parse() -> None:
    lines = [line.split("#")[0].split() for block in blocks(README, "sh") for line in block.splitlines()]
    ours = [words[1:] for words in lines if words[:1] == ["livedub"]]
    assert len(ours) >= 4
    for words in ours:
        assert callable(build_parser().parse_args(words).run)
    scripts = [words[0] for words in lines if words and words[0].startswith("scripts/")]
    assert scripts and all((ROOT / name).is_file() for name in scripts)


def test_the_table_of_commands_is_the_command_line() -> None:
    """Every command has a row, every option that a row names is one of its command, and choices are the real ones."""
    known, described = commands(), set[str]()
    for first, words in table(README, "command"):
        name, *rest = re.sub(r"[`\\]", "", first).removeprefix("livedub ").split()
        inner = rest[0].split("|") if rest and f"{name} {rest[0].split('|')[0]}" in known else []
        described |= {name, *(f"{name} {each}" for each in inner)}
        parsers = [known[f"{name} {each}"] for each in inner] or [known[name]]
        options = {option for parser in parsers for action in parser._actions for option in action.option_strings}
        named = set(re.findall(r"(?<![\w-])--[a-z-]+", f"{first} {words}"))
        own = {option for option in named if f"enroll {option}" not in words}
        assert own <= options | {"--json"}, f"livedub {name}"
    assert described == set(known)


def test_choices_that_the_table_spells_out_are_all_there_are() -> None:
    [dub] = [f"{first} {words}" for first, words in table(README, "command") if first.startswith("`livedub dub")]
    plain = dub.replace("\\", "")
    assert f"--backend {'|'.join(['auto', 'eager', 'aoti'])}" in plain and {"auto", "eager", "aoti"} <= set(BACKENDS)
    assert f"--alignment {'|'.join(ALIGNMENTS)}" in plain
    assert f"({LOOK_AHEADS_MS[0]} to {LOOK_AHEADS_MS[-1]})" in plain
    assert len(EMOTIONS) == 8 and "eight emotions" in plain


def test_exit_statuses_are_those_of_the_errors() -> None:
    [said] = re.findall(r"Exit status: (.*?)\.", README.replace("\n", " "))
    kinds = [each for each in vars(error_tree).values() if isinstance(each, type) and issubclass(each, LivedubError)]
    assert {kind.exit_code for kind in kinds} == {1, 2, 3}
    assert re.findall(r"(\d+) ([a-z ]+)", said) == [
        ("0", "done"), ("1", "failed otherwise"), ("2", "bad input"), ("3", "weights missing or damaged"),
        ("130", "interrupted"),
    ]  # fmt: skip


def test_files_that_the_documents_name_are_there() -> None:
    """In backticks, in pictures and in links."""
    places = ("", "engine/", "streaming/", "kernels/", "bench/")
    for text in (README, ARCHITECTURE):
        names = re.findall(r"`((?:[\w.*]+/)+[\w.*]+)`", text) + re.findall(r"\]\(([\w./]+)\)", text)
        names = [name for name in names if not name.startswith(("application/", "video/", "audio/"))]
        assert names
        for name in names:
            assert any(list(ROOT.glob(place + name)) for place in places), f"{name}: there is no such file"


def test_the_tree_in_the_architecture_is_the_tree() -> None:
    """Each file and folder that a line of the tree begins with, or names, is where the line stands."""
    tree = blocks(ARCHITECTURE, "")[1]
    folder, found = ROOT, 0
    for line in tree.splitlines():
        if top := re.fullmatch(r"(\w+)/", line):
            folder = ROOT / top[1]
            continue
        sub = re.match(r"  (\w+)/", line)
        inner = folder / sub[1] if sub else folder
        assert inner.is_dir(), line
        for name in re.findall(r"(?:[\w]+/)*\w+\.py", line):
            assert any((place / name).is_file() for place in (inner, folder, *folder.glob("*/"))), f"{name} in {line!r}"
            found += 1
    assert found > 40


def test_extras_that_are_named_can_be_installed() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = set(re.findall(r"(?:livedub|\.)\[([\w-]+)\]", README + ARCHITECTURE))
    named |= set(re.findall(r"extra `([\w-]+)`", README + ARCHITECTURE))
    assert {"live", "eval"} <= named <= set(extras)


MEASURED = {
    "pixels changed outside the mask": "outside",
    "lip opening follows its target, r": "lip_opening_r",
    "lip target error, eye distances": "lip_target_error",
    "sync offset, ms": "sync_offset_ms",
    "identity distance": "identity",
    "seam": "seam",
    "sharpness": "sharpness",
    "open in silence": "closed_in_silence",
    "flicker": "flicker",
}
CLIPS = (
    "vrt_face2__sadtalker_deyu", "liveportrait_d20__sadtalker_chinese_news", "sadtalker_WDA_KatieHill_000__ditto_audio",
    "latentsync_demo2__hallo_1",
)  # fmt: skip
"""What the table's columns are, in their order."""


def figures(folder: str, run: str) -> dict[str, float]:
    """Of one run; none where it was not made."""
    path = RESULTS / folder / f"{run}.json"
    return dict(json.loads(path.read_text())["figures"]) if path.exists() else {}


def number(cell: str) -> tuple[float, float] | None:
    """A cell's value and half of its last digit; None where it says that there is none."""
    plain = cell.strip("* ")
    if plain == "-":
        return None
    share = 0.01 if plain.endswith("%") else 1.0
    digits = plain.removesuffix("%").strip()
    decimals = len(digits.partition(".")[2])
    return share * float(digits), share * (0.5 * 10.0**-decimals + 1e-9)


def test_the_measured_table_is_what_was_measured() -> None:
    rows = {row[0].split(", not a goal")[0]: row[2:] for row in table(README, "figure")}
    assert set(rows) == {*MEASURED, "the same, judged by dlib"}
    compared = 0
    for words, cells in rows.items():
        dlib = words == "the same, judged by dlib"
        key = "lip_opening_r" if dlib else MEASURED[words]
        for run, cell in zip(CLIPS, cells, strict=True):
            said, measured = number(cell), figures("quality_dlib" if dlib else "quality", run).get(key)
            assert (said is None) == (measured is None), f"{words}: {cell} for {run}"
            if said is not None and measured is not None:
                value = abs(measured) if key == "sync_offset_ms" else measured
                assert value == pytest.approx(said[0], abs=said[1]), f"{words}: {cell} for {run}, measured {measured}"
                compared += 1
    assert compared >= 36


def test_cells_are_bold_where_their_goal_is_missed_and_nowhere_else() -> None:
    for words, goal, *cells in table(README, "figure"):
        limit = re.fullmatch(r"(>=|<=|within)? ?([\d.]+)(?:-([\d.]+))?( %)?", goal)
        if limit is None:
            assert not goal, f"{words}: {goal!r} is no goal that can be checked"
            continue
        kind, first, second, percent = limit.groups()
        low = float(first) if kind == ">=" or second else (-float(first) if kind == "within" else None)
        high = float(second) if second else (None if kind == ">=" else float(first))
        for cell in cells:
            said = number(cell)
            if said is None:
                continue
            value = 100 * said[0] if percent and cell.strip("* ").endswith("%") else said[0]
            missed = (low is not None and value < low) or (high is not None and value > high)
            assert cell.startswith("**") == missed, f"{words}: {cell}, goal {goal}"


def said_range(text: str, what: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """The least and the most that a sentence gives for something."""
    found = re.search(rf"(?<!\w){what} ([\d.]+) to ([\d.]+)", text)
    assert found is not None, f"{what}: no range is told"
    values = [number(each.rstrip(".")) for each in found.groups()]
    assert values[0] is not None and values[1] is not None
    return values[0], values[1]


@pytest.mark.parametrize(
    ("what", "key"),
    [("r", "lip_opening_r"), ("lip target error", "lip_target_error"), ("identity", "identity"), ("seam", "seam"),
     ("sharpness", "sharpness"), ("flicker", "flicker")],
)  # fmt: skip
def test_the_ranges_of_the_matrix_are_those_of_its_runs(what: str, key: str) -> None:
    paragraph = " ".join(README[README.index("`bench/results/matrix`") :][:400].split())
    runs = sorted((RESULTS / "matrix").glob("*__*.json"))
    values = [json.loads(path.read_text())["figures"][key] for path in runs]
    assert len(values) == 18, "six clips with three speeches each"
    for extreme, (said, within) in zip((min(values), max(values)), said_range(paragraph, what), strict=True):
        assert extreme == pytest.approx(said, abs=within), f"{what}: {said}"


def test_rates_and_ratios_are_those_of_the_benchmarks() -> None:
    """Each sentence's numbers, rounded as they are told."""
    step, dub, live = (json.loads((RESULTS / name).read_text()) for name in ("step.json", "dub.json", "live.json"))
    speech, long = (json.loads((RESULTS / name).read_text()) for name in ("speech.json", "live_long.json"))
    rates = {row["name"]: row["frames_per_s"] for row in dub["variants"]}
    p50 = {row["name"]: row["times_ms"]["p50"] for row in step["variants"]}
    presenter, run = live["runs"]["presenter"], long["runs"]["long"]
    text = " ".join(README.split())
    told = {
        r"render ([\d.]+) times as fast in float32": step["speedup"]["default render"],
        r"in float32 and ([\d.]+) times compiled in bfloat16 \(\d+ ms": step["speedup"]["default render in bfloat16"],
        r"times compiled in bfloat16 \((\d+) ms; dubs": p50["default render aoti bf16"],
        r"times compiled in bfloat16 \((\d+) ms; aim": p50["default step aoti bf16"],
        r"with its losses ([\d.]+) times in float32": step["speedup"]["default step"],
        r"gradient has cosine ([\d.]+)": step["gradient_cosine"]["default step aoti bf16"],
        r"runs at ([\d.]+) pictures a second": rates["effort 0 eager"],
        r"pictures a second, compiled at ([\d.]+)": rates["effort 0 auto"],
        r"lowers the frame rate \(([\d.]+) a second": presenter["fps_edited"],
        r"constant delay shown on the page \(([\d.]+) s": presenter["delay_ms"] / 1000,
        r"a viewer saw ([\d.]+) pictures a second": live["runs"]["loss"]["viewer_20%"]["pictures_per_second"],
        r"r = ([\d.]+) over six clips": speech["figures"]["speech_r"],
        r"loudness alone reaches ([\d.]+)": speech["log_energy_r"],
        r"voice stayed within ([\d.]+) ms": max(abs(run["av_offset_least_ms"]), abs(run["av_offset_most_ms"])),
    }  # fmt: skip
    for pattern, measured in told.items():
        found = re.search(pattern, text)
        assert found is not None, f"{pattern}: no such sentence"
        said = number(found[1].rstrip("."))
        assert said is not None
        assert measured == pytest.approx(said[0], abs=said[1]), f"{found[0]}: measured {measured}"
