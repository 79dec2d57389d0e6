"""The ablation: which variants there are, whole measurements on a painted speaker, tables, taking up again."""

from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

import engine.dubber as dubber_module
from bench import ablation
from bench.__main__ import main as bench_main
from bench.ablation import (
    WHOLE,
    Ablation,
    Variant,
    VariantEngine,
    figures_table,
    pairs_of,
    stages_table,
    terms,
    variants,
)
from bench.machine import read_json
from bench.quality import Folders, Options
from engine.editing.editor import FrameEditor
from engine.editing.perceptual import PerceptualLoss
from engine.editing.refine import RefineConfig
from engine.errors import BadInputError, ProfileError
from engine.evaluation import FIGURES
from engine.generators.library import ReadyGenerator
from engine.speech.track import SpeechFrame
from tests.bench.made_runs import FakeEngine, NoJudge, Profile, make_clip, make_speech
from tests.engine.editing.made_perceptual import tiny_perceptual
from tests.engine.editing.made_up import neutral_head
from tests.engine.editing.scripted import (
    ScriptedMesh,
    ScriptedTracker,
    film,
    mouth_moves,
    painted_generator,
    painted_profile,
    plain_statistics,
    tracked,
)

pytestmark = pytest.mark.unit
PICTURES = 2


def test_every_weight_of_the_objective_is_left_out_once_and_nothing_else() -> None:
    found = {way.name: way for way in variants((0, 2), 4, fit=False)}
    names = terms(RefineConfig())
    assert set(names) == {item.name for item in fields(RefineConfig)} - {"rate", "beta1", "stages", "whole"}
    assert set(found) == {"effort 0", "effort 2", WHOLE, *(f"without {name}" for name in names)}
    assert (found["effort 2"].effort, found[WHOLE].effort) == (2, 4)
    for name in names:
        way = found[f"without {name}"]
        assert way.effort == 4 and getattr(way.refine, name) == 0
        assert replace(way.refine, **{name: getattr(RefineConfig(), name)}) == RefineConfig()


def test_terms_that_count_nothing_already_are_not_left_out() -> None:
    assert "pixel" not in terms(RefineConfig(pixel=0.0)) and "pixel" in terms(RefineConfig())


def test_terms_of_the_fit_are_left_out_on_request() -> None:
    fitted = [way for way in variants((), 4, fit=True) if way.tuning is not None]
    assert [way.name for way in fitted] == [f"fitted without {name}" for name in ablation._FIT_TERMS]
    for way, name in zip(fitted, ablation._FIT_TERMS, strict=True):
        assert getattr(way.tuning, name) == 0 and way.effort == 1 and " " not in way.folder


class Voice:
    """Speech that opens the mouth more and more."""

    look_ahead_ms = 113

    def stream(self) -> "Voice":
        return self

    @property
    def ready_until_s(self) -> float:
        return 1e9

    def push(self, samples: NDArray[np.float32]) -> None:
        assert samples.dtype == np.float32

    def set_emotion(self, name: str, intensity: float, blend_s: float) -> None:
        assert name == "neutral"

    def end_input(self) -> None:
        """Nothing to do."""

    def at(self, seconds: float) -> SpeechFrame:
        wish = (0.5 + 20 * seconds) * np.array([1.5, -0.6, 0.3, 0.8, 0.6, -0.2, 0.3, 0.4])
        return SpeechFrame(np.asarray(np.tensordot(wish, mouth_moves(), 1), np.float32), 1.0)


@pytest.fixture(scope="module")
def perceptual(tmp_path_factory: pytest.TempPathFactory) -> PerceptualLoss:
    """Made-up weights of the perceptual network."""
    return tiny_perceptual(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def painted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, perceptual: PerceptualLoss) -> list[tuple[Path, Path]]:
    """A clip of the painted speaker with a profile; sessions get the painted networks."""
    rgb = film(np.zeros(8))
    path = tmp_path / "painted.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = rgb.shape[0], rgb.shape[1], "yuv444p"
        for index in range(PICTURES):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (tmp_path / "profiles").mkdir()
    profile = painted_profile(0.7 * np.eye(8))
    profile.save(tmp_path / "profiles" / "painted.safetensors")
    ready = ReadyGenerator("painted", painted_generator(), plain_statistics(), (None, None))  # type: ignore[arg-type]
    networks = dubber_module._Networks(ready, perceptual, ScriptedMesh())
    monkeypatch.setattr(dubber_module, "_networks", lambda name: networks)
    monkeypatch.setattr(dubber_module, "load_speech_model", lambda limit_ms: Voice())
    faces = [tracked(neutral_head())] * PICTURES
    monkeypatch.setattr(dubber_module, "create_tracker", lambda kind: ScriptedTracker(faces))
    return [(path, make_speech(tmp_path / "voice.wav"))]


def measured(tmp_path: Path, pairs: list[tuple[Path, Path]], make: ablation.Maker = VariantEngine) -> Ablation:
    folders = Folders(tmp_path / "profiles", tmp_path / "out", None)
    return Ablation([*pairs], folders, Options(), None, make)


def test_a_painted_speaker_is_measured_under_every_objective(
    tmp_path: Path, painted: list[tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real sessions: each variant gets its objective and effort, costs are told by stage, terms change the search."""
    shown: dict[tuple[str, float], NDArray[np.float32]] = {}
    predict, composite = FrameEditor.predict, FrameEditor.composite
    asked: list[tuple[RefineConfig, int]] = []

    def noted(self: FrameEditor, *args: Any) -> Any:
        asked.append((self._config, args[4]))
        return predict(self, *args)

    def kept(self: FrameEditor, *args: Any) -> Any:
        found = composite(self, *args)
        shown[way.name, sum(name == way.name for name, _ in shown) + 1] = found.patch.rgb
        return found

    monkeypatch.setattr(FrameEditor, "predict", noted)
    monkeypatch.setattr(FrameEditor, "composite", kept)
    lines: list[str] = []
    names = ("effort 0", WHOLE, "without landmark", "without prior")
    ways = [way for way in variants((0,), 8, fit=False) if way.name in names]
    results = {}
    for way in ways:
        asked.clear()
        results[way.name] = measured(tmp_path, painted).run([way], lines.append)["rows"]
        assert asked == [(way.refine, way.effort)] * PICTURES
    assert read_json(tmp_path / "out" / "ablation.json")["rows"] == results[ways[-1].name]
    for [row] in results.values():
        assert row["edited"] == PICTURES and row["figures"]["outside"] == 0
    assert set(results[WHOLE][0]["stages_ms"]) - set(results["effort 0"][0]["stages_ms"]) == {"correct", "refine"}
    last = {way.name: shown[way.name, PICTURES] for way in ways}
    for name in ("landmark", "prior"):
        assert np.abs(last[f"without {name}"] - last[WHOLE]).max() > 0.01, f"{name}: grey levels"


def test_a_measurement_that_is_broken_off_is_taken_up_again(tmp_path: Path) -> None:
    pair = (make_clip(tmp_path / "grey.mp4"), make_speech(tmp_path / "noise.wav"))
    engines: list[tuple[str, FakeEngine]] = []

    def make(way: Variant) -> Any:
        engines.append((way.name, FakeEngine()))
        if len(engines) == 3:
            raise KeyboardInterrupt
        return engines[-1][1]

    ways = variants((0, 1, 2), 4, fit=False)[:3]
    with pytest.raises(KeyboardInterrupt):
        measured(tmp_path, [pair], make=make).run(ways, print_nothing)
    assert [row["variant"] for row in read_json(tmp_path / "out" / "ablation.json")["rows"]] == ["effort 0", "effort 1"]
    result = measured(tmp_path, [pair], make=make).run(ways, print_nothing)
    assert [row["variant"] for row in result["rows"]] == ["effort 0", "effort 1", "effort 2"]
    dubbed = [(name, engine.sessions) for name, engine in engines if engine.sessions]
    assert dubbed == [("effort 0", [0]), ("effort 1", [1]), ("effort 2", [2])]
    assert sum(engine.enrolled for _, engine in engines) == 1
    assert result["command"] == "python -m bench ablation --clips grey --speech noise --efforts 0 1 2"


def test_what_older_code_measured_is_kept_only_on_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = (make_clip(tmp_path / "grey.mp4"), make_speech(tmp_path / "noise.wav"))
    engines: list[FakeEngine] = []

    def make(way: Variant) -> FakeEngine:
        engines.append(FakeEngine())
        return engines[-1]

    way = variants((1,), 4, fit=False)[:1]
    measured(tmp_path, [pair], make).run(way, print_nothing)
    monkeypatch.setattr("bench.quality.code_digest", lambda: "changed")
    replace(measured(tmp_path, [pair], make), keep_older=True).run(way, print_nothing)
    measured(tmp_path, [pair], make).run(way, print_nothing)
    assert [len(engine.sessions) for engine in engines] == [1, 0, 1]


def print_nothing(text: str) -> None:
    assert text


def test_profiles_of_another_fit_are_enrolled_with_it_and_kept_apart(tmp_path: Path) -> None:
    pair = (make_clip(tmp_path / "grey.mp4"), make_speech(tmp_path / "noise.wav"))
    ways = [way for way in variants((1,), 4, fit=True) if way.tuning is not None or way.name == "effort 1"]
    measured(tmp_path, [pair], make=lambda way: FakeEngine()).run(ways, print_nothing)
    made = {
        path.relative_to(tmp_path / "profiles").as_posix() for path in (tmp_path / "profiles").rglob("*.safetensors")
    }
    assert made == {"grey.safetensors", *(f"fitted_without_{name}/grey.safetensors" for name in ablation._FIT_TERMS)}


def test_an_engine_hands_its_fit_to_the_enrolment(monkeypatch: pytest.MonkeyPatch) -> None:
    """All other settings are those of the quality that was asked for."""
    configs: list[Any] = []
    monkeypatch.setattr(ablation, "load_generator", lambda name: ReadyGenerator(name, None, None, (None, None)))  # type: ignore[arg-type]
    for name in ("PerceptualLoss", "MeshNet", "create_tracker"):
        monkeypatch.setattr(ablation, name, lambda *args, **kwargs: ScriptedMesh())
    monkeypatch.setattr("engine.weights.path", Path)
    monkeypatch.setattr(ablation, "enroll_speaker", lambda frames, parts, config, report: configs.append(config))
    [fitted] = [way for way in variants((), 4, fit=True) if way.name == "fitted without pixel"]
    for way in (fitted, variants((1,), 4, fit=False)[0]):
        VariantEngine(way).enroll([], "full", "mesh", lambda *_: None)
    assert configs[0].tuning == fitted.tuning and configs[0].tuning.pixel == 0
    assert configs[1].tuning.pixel > 0 and replace(configs[0], tuning=configs[1].tuning) == configs[1]
    with pytest.raises(ProfileError, match="got a Profile"):
        VariantEngine(fitted).session(Profile(), None, "mesh")


def row(variant: str, effort: int, **changes: Any) -> dict[str, Any]:
    figures: dict[str, float | None] = dict.fromkeys(FIGURES)
    stages = {"track": {"p50": 10.0}, "render": {"p50": 20.0 + effort}}
    return {
        "variant": variant,
        "effort": effort,
        "figures": figures | {"seam": 1.0, "identity": 0.2} | changes,
        "ms_per_frame": 100.0 + effort,
        "stages_ms": stages | ({"refine": {"p50": 200.0}} if effort > 1 else {}),
    }


def cells(table: str) -> dict[str, list[str]]:
    lines = [[part.strip() for part in line.strip("|\n").split("|")] for line in table.splitlines()]
    assert len({len(line) for line in lines}) == 1
    return {line[0]: line[1:] for line in lines}


def test_the_table_averages_pairs_and_marks_what_misses_its_goal() -> None:
    rows = [row(WHOLE, 4), row(WHOLE, 4, seam=1.2, identity=None), row("without pixel", 4, seam=1.6)]
    rows.append({"variant": "without pixel", "effort": 4, "missing": "no face"})
    table = cells(figures_table(rows))
    assert table["variant"] == ["steps", "pairs", "identity", "seam", "ms a frame"]
    assert table[WHOLE] == ["4", "2", "0.2", "1.1 *", "104"]
    assert table["without pixel"] == ["4", "1", "0.2", "1.6 *", "104"]
    assert table["to reach"][3] == "<= 1.05"


def test_the_cost_of_each_stage_is_told_by_effort() -> None:
    rows = [row("effort 0", 0), row("effort 2", 2), row("effort 2", 2), row("without pixel", 2)]
    rows[2]["ms_per_frame"] = 202.0
    table = cells(stages_table(rows))
    assert table["effort"] == ["track", "render", "refine", "all, ms a frame"]
    assert table["0"] == ["10", "20", "-", "100"] and table["2"] == ["10", "22", "200", "152"]


def test_one_speech_goes_with_all_clips_and_several_pairwise(tmp_path: Path) -> None:
    a, b = tmp_path / "a.mp4", tmp_path / "b.mp4"
    assert pairs_of([a, b], [None]) == [(a, None), (b, None)]
    assert pairs_of([a, b], [b, None]) == [(a, b), (b, None)]
    with pytest.raises(BadInputError, match="got 1 clips and 2 speeches"):
        pairs_of([a], [b, None])


def test_the_command_measures_and_shows_both_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clip, speech = make_clip(tmp_path / "grey.mp4"), make_speech(tmp_path / "noise.wav")
    monkeypatch.setattr(ablation, "NetJudge", NoJudge)
    monkeypatch.setattr(ablation, "VariantEngine", lambda way: FakeEngine())
    arguments = ["ablation", "--clips", str(clip), "--speech", str(speech), "--profiles", str(tmp_path / "p")]
    arguments += ["--out", str(tmp_path / "o"), "--efforts", "0", "1"]
    assert bench_main(arguments) == 0
    text = capsys.readouterr().out
    assert "| without landmark | 4 | 1 |" in text and "| effort | edit | all, ms a frame |" in text
    names = [row["variant"] for row in read_json(tmp_path / "o" / "ablation.json")["rows"]]
    assert names[:3] == ["effort 0", "effort 1", WHOLE] and len(names) == 3 + len(terms(RefineConfig()))
    assert bench_main([*arguments, "--term-effort", "1"]) == 2
    assert "expected 2 or more" in capsys.readouterr().err
