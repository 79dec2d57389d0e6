"""The benchmark of whole dubs: every variant is run, ratios belong to their pairs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from bench import dub as bench
from bench.dub import Run, Variant, backends, stage_times, summarised, table
from streaming.ingest.file import probe_video
from streaming.ingest.sound import read_sound
from streaming.timeline import Timeline
from tests.streaming.clips import gradient, make_video, make_wav, tone
from tests.streaming.fakes import FakeSession

pytestmark = pytest.mark.unit

SECONDS = {("eager", False): 4.0, ("eager", True): 2.0, ("auto", False): 2.0, ("auto", True): 0.5}


def run_of(variant: Variant, factor: float = 1.0) -> Run:
    wall = SECONDS[variant.backend, variant.overlap] * factor
    return Run(10, wall, wall * 2, {"render": [wall * 100, wall * 120]}, {"region render": variant.backend})


def test_ratios_are_of_medians_of_the_same_effort(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Variant] = []
    factors = iter([1.0] * 4 + [3.0] * 4 + [1.0] * 4)

    def measuring(seconds: float) -> Callable[[Variant], Run]:
        def measure(variant: Variant) -> Run:
            asked.append(variant)
            return run_of(variant, next(factors))

        return measure

    monkeypatch.setattr(bench, "_measuring", measuring)
    out = tmp_path / "dub.json"
    assert bench.main(["--efforts", "1", "--rounds", "3", "--out", str(out)]) == 0
    written = json.loads(out.read_text())
    assert [row["frames_per_s"] for row in written["variants"]] == [2.5, 5.0, 5.0, 20.0]
    assert written["ratios"] == {
        "overlap, effort 1 eager": 2.0,
        "compiled, effort 1 one after the other": 2.0,
        "overlap, effort 1 auto": 4.0,
        "compiled, effort 1 overlapping": 4.0,
    }
    assert asked[:4] == asked[4:8] and len(set(asked)) == 4, "all variants in every round"
    assert written["command"].startswith("python -m bench dub --efforts 1")


def test_the_table_says_rates_and_ratios() -> None:
    runs = {variant: [run_of(variant)] for variant in (Variant(0, "eager", False), Variant(0, "eager", True))}
    assert table(summarised(runs)).splitlines() == [
        "effort 0 eager: 2.50 pictures a second; p50/p95 in ms: render 440.0/476.0",
        "effort 0 eager overlapping: 5.00 pictures a second; p50/p95 in ms: render 220.0/238.0",
        "overlap, effort 0 eager: 2.00 times",
    ]


def test_what_each_piece_ran_on_is_told() -> None:
    told = {"backend": "aoti", "reason": "fast", "trials": [], "W+ step": {"backend": "eager", "reason": "none"}}
    assert backends(told) == {"region render": "aoti", "W+ step": "eager"}


@pytest.mark.parametrize("overlap", [False, True])
def test_a_dub_is_measured_and_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overlap: bool) -> None:
    clip = make_video(tmp_path / "clip.mp4", [gradient(i, 64, 48) for i in range(8)])
    sound = read_sound(make_wav(tmp_path / "speech.wav", tone(0.4, 16000), 16000))
    timeline = Timeline.plan(probe_video(clip), 0.0, None, sound.duration, loop=False)
    session = FakeSession({}, 1, None)

    class Made:
        def __init__(self, backend: str) -> None:
            assert backend == "auto"

        def session(self, profile: object, effort: int, tracker: str) -> FakeSession:
            assert (profile, effort, tracker) == ("profile", 2, "mesh")
            return session

    monkeypatch.setattr(bench, "LocalEngine", Made)
    found = bench.dubbed(Variant(2, "auto", overlap), "profile", timeline, sound)  # type: ignore[arg-type]
    assert found.frames == 8 and found.wall_s > 0 and found.cpu_s > 0
    assert found.stages_ms == {"edit": [1.0] * 8} and found.backend == {"region render": "eager"}
    assert sorted(each.name for each in tmp_path.iterdir()) == ["clip.mp4", "speech.wav"]


def test_stages_are_told_over_all_pictures_of_all_rounds() -> None:
    """A stage that only some dubs have is told of those."""
    first = Run(2, 1.0, 1.0, {"render": [10.0, 20.0]}, {})
    second = Run(3, 1.0, 1.0, {"render": [30.0, 40.0, 50.0], "refine": [7.0]}, {})
    assert stage_times([first, second]) == {"render": {"p50": 30.0, "p95": 48.0}, "refine": {"p50": 7.0, "p95": 7.0}}


def test_only_the_ways_and_backends_asked_for_are_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Variant] = []

    def measure(variant: Variant) -> Run:
        asked.append(variant)
        return run_of(variant)

    monkeypatch.setattr(bench, "_measuring", lambda seconds: measure)
    arguments = ["--efforts", "0", "8", "--backends", "auto", "--ways", "overlapping", "--rounds", "1"]
    assert bench.main([*arguments, "--out", str(tmp_path / "dub.json")]) == 0
    assert asked == [Variant(0, "auto", True), Variant(8, "auto", True)]
    assert json.loads((tmp_path / "dub.json").read_text())["ratios"] == {}, "no pair to compare"


def test_each_way_is_compiled_for_and_dubbed_with_its_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[tuple[int, int]] = []
    dubbed: list[tuple[bool, int]] = []
    before = torch.get_num_threads()

    def dub(variant: Variant, *rest: object) -> Run:
        dubbed.append((variant.overlap, torch.get_num_threads()))
        return run_of(variant)

    monkeypatch.setattr(bench, "_dubbed", dub)
    monkeypatch.setattr(bench, "stage_threads", lambda effort: before + (1 if effort < 2 else 2))
    monkeypatch.setattr(
        bench, "compile_for", lambda profile, effort: compiled.append((torch.get_num_threads(), effort))
    )
    arguments = ["--efforts", "0", "2", "--backends", "auto", "--rounds", "1", "--compile"]
    assert bench.main([*arguments, "--out", str(tmp_path / "dub.json")]) == 0
    assert compiled == [(before, 0), (before + 1, 0), (before, 2), (before + 2, 2)]
    assert dubbed == [(False, before), (True, before + 1), (False, before), (True, before + 2)]
    written = json.loads((tmp_path / "dub.json").read_text())
    assert list(written["threads"].values()) == [before, before + 1, before, before + 2]
