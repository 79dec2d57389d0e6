"""The choice of what renders a speaker's region: compiled once, equal to the reference, refused with reasons."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from engine.editing import compiled as module
from engine.editing.compiled import choose_backend
from engine.editing.profile import SpeakerProfile
from engine.editing.rendering import SpeakerRenderer
from engine.errors import BackendError
from engine.generators.mobile import MobileStyleGAN
from kernels.errors import BackendUnavailable
from kernels.flat import FlatGraph

pytestmark = pytest.mark.unit


@pytest.fixture
def renderer(profile: SpeakerProfile, small: MobileStyleGAN) -> SpeakerRenderer:
    return SpeakerRenderer(profile, small)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FlatGraph]]:
    """Compiling without a compiler: graphs are run as they are."""
    asked: list[FlatGraph] = []

    def compiled(graph: FlatGraph, folder: Path, name: str) -> FlatGraph:
        asked.append(graph)
        return graph

    monkeypatch.setattr(module, "compiled", compiled)
    monkeypatch.setattr(module, "has_bfloat16", lambda: False)
    yield asked


def test_auto_compiles_nothing_and_says_so(
    renderer: SpeakerRenderer, tmp_path: Path, stand_in: list[FlatGraph]
) -> None:
    choice = choose_backend(renderer, "auto", tmp_path)
    assert choice.name == "eager" and "nothing is compiled on this machine yet" in choice.reason
    assert stand_in == []


def test_auto_passes_over_packages_of_other_graphs(
    renderer: SpeakerRenderer, tmp_path: Path, stand_in: list[FlatGraph]
) -> None:
    (tmp_path / "other.pt2").touch()
    choice = choose_backend(renderer, "auto", tmp_path)
    assert choice.name == "eager" and "not compiled on this machine yet" in choice.reason
    assert stand_in == []


def test_what_is_compiled_renders_the_same_pictures(
    renderer: SpeakerRenderer, tmp_path: Path, stand_in: list[FlatGraph]
) -> None:
    w = renderer.profile.base
    before = renderer.region(w)
    choice = choose_backend(renderer, "aoti", tmp_path)
    assert choice.name.startswith("aoti") and choice.reason.startswith("asked for")
    after = renderer.region(w)
    assert not torch.equal(before, after)
    assert float((before - after).abs().max()) < 0.1
    assert len(stand_in) == 1


def test_half_precision_that_shows_gives_way_to_single(
    renderer: SpeakerRenderer, tmp_path: Path, stand_in: list[FlatGraph], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The made-up generator's pictures differ by more than a grey level in bfloat16."""
    monkeypatch.setattr(module, "has_bfloat16", lambda: True)
    choice = choose_backend(renderer, "aoti", tmp_path)
    assert choice.name == "aoti" and len(stand_in) == 2


def test_gradients_come_from_the_reference(
    renderer: SpeakerRenderer, tmp_path: Path, stand_in: list[FlatGraph]
) -> None:
    choose_backend(renderer, "aoti", tmp_path)
    w = renderer.profile.base.clone().requires_grad_(True)
    picture = renderer.region(w)
    torch.testing.assert_close(picture, renderer.eager(w)[0])
    picture.square().mean().backward()  # type: ignore[no-untyped-call]
    assert w.grad is not None and float(w.grad.norm()) > 0


def test_eager_can_be_asked_for(renderer: SpeakerRenderer, tmp_path: Path, stand_in: list[FlatGraph]) -> None:
    assert choose_backend(renderer, "eager", tmp_path).reason == "asked for"
    assert stand_in == []


def test_a_missing_compiler_is_an_error_only_where_it_is_asked_for(
    renderer: SpeakerRenderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(graph: FlatGraph, folder: Path, name: str) -> FlatGraph:
        raise BackendUnavailable("no compiler: install g++")

    monkeypatch.setattr(module, "compiled", none)
    monkeypatch.setattr(module, "is_cached", lambda graph, folder: True)
    with pytest.raises(BackendError, match="no compiler: install g[+][+]"):
        choose_backend(renderer, "aoti", tmp_path)
    (tmp_path / "this.pt2").touch()
    choice = choose_backend(renderer, "auto", tmp_path)
    assert choice.name == "eager" and "no compiler" in choice.reason


def test_wrong_pictures_are_refused(renderer: SpeakerRenderer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(graph: FlatGraph, folder: Path, name: str) -> object:
        def run(w: Tensor) -> tuple[Tensor, ...]:
            return (graph(w)[0] + 0.05,)

        return run

    monkeypatch.setattr(module, "compiled", wrong)
    with pytest.raises(BackendError, match="differs from eager"):
        choose_backend(renderer, "aoti", tmp_path)


def test_gpu_backends_say_why_they_cannot_be_used(renderer: SpeakerRenderer, tmp_path: Path) -> None:
    with pytest.raises(BackendError, match="tensorrt"):
        choose_backend(renderer, "tensorrt", tmp_path)
    if not torch.cuda.is_available():
        with pytest.raises(BackendError, match="no CUDA device"):
            choose_backend(renderer, "cudagraph", tmp_path)
