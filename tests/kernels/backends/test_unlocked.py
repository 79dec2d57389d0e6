"""Packages called through their C interface: equal to torch's loader, other threads go on, odd packages are refused."""

import logging
import threading
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kernels.backends import aoti
from kernels.backends.aoti import compiled
from kernels.backends.unlocked import UnlockedPackage
from kernels.errors import BackendUnavailable
from kernels.flat import FlatGraph, trace

CODE = "model/data/aotinductor/model/made.wrapper.so"


def graph(side: int = 64) -> FlatGraph:
    """Two convolutions with two results; at 512 px a run takes some tens of milliseconds."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.Tanh(), nn.Conv2d(32, 3, 3, padding=1)).eval()
    layers.requires_grad_(False)
    return trace(lambda x: (layers(x), x.mean()), (torch.zeros(1, 3, side, side),))


def picture(side: int = 64) -> Tensor:
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.slow
@pytest.mark.usefixtures("_has_compiler")
def test_results_are_those_of_torch_s_loader_and_stay(tmp_path: Path) -> None:
    made = compiled(graph(), tmp_path)
    inputs = (picture(), *made.graph.constants)
    known = torch._inductor.aoti_load_package(str(made.package))(*inputs)
    package = UnlockedPackage(made.package)
    results = [package(*inputs) for _ in range(3)]
    assert results[0][0].data_ptr() != results[1][0].data_ptr(), "every run gives new tensors"
    for found in results:
        for one, other in zip(found, known, strict=True):
            assert torch.equal(one, other)
    assert torch.equal(picture(), inputs[0]), "inputs are left alone"
    with pytest.raises(BackendUnavailable, match="1 tensors, expected"):
        package(picture())
    del package
    assert torch.equal(results[0][0], known[0]), "results outlive the package"


@pytest.mark.slow
@pytest.mark.usefixtures("_has_compiler")
def test_other_threads_go_on_while_it_runs(tmp_path: Path) -> None:
    """With the lock held a thread that wants it ran once a call."""
    made = compiled(graph(512), tmp_path)
    value, running, ran = picture(512), threading.Event(), 0

    def work() -> None:
        """Twenty calls."""
        running.set()
        for _ in range(20):
            made(value)
        running.clear()

    thread = threading.Thread(target=work)
    thread.start()
    running.wait()
    while running.is_set():
        ran += 1
        threading.Event().wait(0.001)
    thread.join()
    assert ran > 60, "more than three times a call"


@pytest.mark.slow
@pytest.mark.usefixtures("_has_compiler")
def test_calls_from_several_threads_do_not_mix(tmp_path: Path) -> None:
    """Two at once, the third waits."""
    made = compiled(graph(), tmp_path)
    given = [picture() + index for index in range(3)]
    wanted = [made.graph(value)[0] for value in given]
    wrong: list[int] = []

    def work(index: int) -> None:
        """Its own picture, many times."""
        for _ in range(50):
            if not torch.allclose(made(given[index])[0], wanted[index], atol=1e-4):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def archive(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, b"{}")
    return path


@pytest.mark.unit
@pytest.mark.parametrize(
    ("names", "said"),
    [
        ((CODE, CODE.replace("made", "other")), "holds 2 pieces of code"),
        (("model/byteorder",), "holds 0 pieces of code"),
        ((CODE, "model/data/aotinductor/model/made.json"), "1 operations outside"),
        ((CODE, "model/data/aotinductor/model/made.wrapper_metadata.json"), "cannot be loaded"),
    ],
)
def test_packages_of_another_form_are_refused(tmp_path: Path, names: tuple[str, ...], said: str) -> None:
    with pytest.raises(BackendUnavailable, match=said):
        UnlockedPackage(archive(tmp_path / "made.pt2", *names))


@pytest.mark.unit
def test_where_the_lock_must_be_held_torch_s_loader_runs_it_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch._inductor, "aoti_load_package", lambda path: lambda *inputs: inputs)
    path = archive(tmp_path / "made.pt2", "model/byteorder")
    with caplog.at_level(logging.WARNING):
        run = aoti._caller(path, "render")
    assert run(1, 2) == (1, 2)
    assert "other threads wait" in caplog.text and "render" in caplog.text
