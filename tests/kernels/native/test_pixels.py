"""The loops in C++: equal to the library's forms, only where they are asked for, compiled once."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from kernels.errors import BackendUnavailable
from kernels.native import pixels as module
from kernels.native.pixels import Pixels, fits, library_path, load, using
from kernels.separable import along, blur_matrix, blurred, enlarged, fine_part, gaussian

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def loops(tmp_path_factory: pytest.TempPathFactory) -> Pixels:
    return load(tmp_path_factory.mktemp("native"), may_compile=True)


def picture(channels: int = 3, height: int = 40, width: int = 56) -> Tensor:
    """Smooth, so that places may differ by rounding; its channels are told apart."""
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    return torch.stack([torch.sin(0.2 * x + k) + torch.cos(0.15 * y - k) for k in range(channels)])[None]


def sampled(source: Tensor, x: Tensor, y: Tensor, mode: str) -> Tensor:
    """The library's own sampling at places [h,w] from the centre of the first pixel."""
    height, width = source.shape[2:]
    grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], -1)[None]
    return functional.grid_sample(source, grid, mode=mode, padding_mode="border", align_corners=False)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("scale", [0.6, 1.3, 3.0])
def test_sampling_is_the_library_s_inside_and_outside(loops: Pixels, mode: str, channels: int, scale: float) -> None:
    source = picture(channels)
    matrix = np.array([[scale, 0.1, -9.0], [-0.1, scale, -7.5]])
    rows, columns = torch.arange(150.0)[:, None] + 0.5, torch.arange(170.0)[None] + 0.5
    x = scale * columns + 0.1 * rows - 9.0
    y = -0.1 * columns + scale * rows - 7.5
    found = loops.resample(source, matrix, (150, 170), 1, mode == "bicubic")
    torch.testing.assert_close(found, sampled(source, x, y, mode), atol=2e-4, rtol=0)


def test_samples_of_a_pixel_are_averaged(loops: Pixels) -> None:
    source = picture()
    matrix = np.array([[2.0, 0.0, -0.5], [0.0, 2.0, -0.5]])
    found = loops.resample(source, matrix, (20, 28), 2, False)
    torch.testing.assert_close(found, functional.avg_pool2d(source, 2), atol=1e-5, rtol=0)


@pytest.mark.parametrize("step", [2, 3, 5])
@pytest.mark.parametrize("last", [False, True])
def test_means_of_blocks_are_sampled_with_the_border_repeated(loops: Pixels, step: int, last: bool) -> None:
    """Sizes that no step divides, channels in planes or side by side; places beyond the last block, too."""
    source = picture(3, 41, 58)
    source = source.contiguous(memory_format=torch.channels_last) if last else source
    padded = functional.pad(source, (0, -58 % step, 0, -41 % step), mode="replicate")
    matrix = np.array([[0.7, 0.1, -1.3], [-0.1, 0.8, -0.6]])
    size = (-(-41 // step) + 6, -(-58 // step) + 6)
    expected = loops.resample(functional.avg_pool2d(padded, step).contiguous(), matrix, size, 2, True)
    found = loops.resample(source, matrix, size, 2, True, step)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert float((found - loops.resample(source, matrix, size, 2, True)).abs().max()) > 0.1


def test_places_that_are_no_numbers_read_nothing_beyond_the_picture(loops: Pixels) -> None:
    for cubic in (False, True):
        for wrong in (float("nan"), float("inf"), 1e30, -1e30):
            matrix = np.array([[1.0, 0.0, wrong], [0.0, 1.0, wrong]])
            found = loops.resample(picture(), matrix, (3, 3), 1, cubic)
            assert float(found.abs().max()) <= 2.0


def test_a_cut_out_of_a_picture_is_read_in_its_place(loops: Pixels) -> None:
    whole = picture(4)
    cut = whole[:, :3, 5:33, 7:50]
    matrix = np.array([[0.9, 0.1, 0.3], [0.0, 0.8, 0.2]])
    torch.testing.assert_close(
        loops.resample(cut, matrix, (30, 40), 1, True), loops.resample(cut.contiguous(), matrix, (30, 40), 1, True)
    )
    last = cut.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(
        loops.resample(last, matrix, (30, 40), 1, True), loops.resample(cut, matrix, (30, 40), 1, True)
    )


@pytest.mark.parametrize("far", [0.5, 8.0, 100.0])
def test_displacing_is_cubic_sampling_at_enlarged_shifts(loops: Pixels, far: float) -> None:
    source = picture()
    shift = far * torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0))
    full = enlarged(shift[None], (40, 56))[0]
    x, y = torch.arange(56.0)[None] + full[0], torch.arange(40.0)[:, None] + full[1]
    torch.testing.assert_close(loops.displaced(source, shift, 8), sampled(source, x, y, "bicubic"), atol=2e-4, rtol=0)


@pytest.mark.parametrize("step", [2, 4, 8])
def test_shrinking_and_enlarging_are_the_library_s(loops: Pixels, step: int) -> None:
    source = picture()
    small = loops.shrunk(source, step)
    torch.testing.assert_close(small, functional.avg_pool2d(source, step))
    expected = source - 0.5 * enlarged(small, (40, 56))
    torch.testing.assert_close(loops.with_enlarged(source, small, step, -0.5), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("sigma", [0.5, 1.4, 4.0])
def test_sharpening_adds_what_a_blur_takes_away(loops: Pixels, sigma: float) -> None:
    source = torch.randn(1, 3, 40, 9, generator=torch.Generator().manual_seed(0))
    expected = source + 0.7 * (source - blurred(source, sigma))
    torch.testing.assert_close(loops.sharpened(source, gaussian(sigma), 0.7), expected, atol=1e-5, rtol=0)


def test_scattered_values_hold_at_their_places_and_fade_far_away(loops: Pixels) -> None:
    places = torch.tensor([[12.0, 20.0], [60.0, 44.0], [12.0, 68.0]])
    values = torch.tensor([[3.0, -1.0], [-2.0, 5.0], [0.5, 0.25]])
    found = loops.scattered(places, values, 0.5, 1e-6, 8, (10, 200))
    for place, value in zip(places, values, strict=True):
        row, column = int(place[1] // 8), int(place[0] // 8)
        torch.testing.assert_close(found[:, row, column], value, atol=0.05, rtol=0)
    assert float(found[:, :, -1].abs().max()) < 0.01
    y, x = torch.meshgrid((torch.arange(10) + 0.5) * 8, (torch.arange(200) + 0.5) * 8, indexing="ij")
    pull = ((x[..., None] - places[:, 0]) ** 2 + (y[..., None] - places[:, 1]) ** 2 + 0.25) ** -1.5
    expected = (pull @ values) / (pull.sum(-1, keepdim=True) + 1e-6)
    torch.testing.assert_close(found, expected.permute(2, 0, 1), atol=1e-4, rtol=1e-3)


def test_the_finest_band_is_the_same_with_and_without_the_loops(loops: Pixels) -> None:
    source = torch.randn(1, 3, 40, 56, generator=torch.Generator().manual_seed(0))
    plain = fine_part(source, 4, 2.0)
    with using(loops):
        found = fine_part(source, 4, 2.0)
    assert not torch.equal(found, plain), "the loops were not used"
    torch.testing.assert_close(found, plain, atol=1e-5, rtol=0)
    coarse = along(functional.avg_pool2d(source, 4), blur_matrix(10, 2.0, True), blur_matrix(14, 2.0, True))
    torch.testing.assert_close(found, source - enlarged(coarse, (40, 56)), atol=1e-5, rtol=0)


def test_edges_are_counted_inside_and_in_blocks(loops: Pixels) -> None:
    plane = np.random.default_rng(0).normal(0, 9, (37, 50)).astype(np.float32)
    inside = np.zeros((37, 50), bool)
    inside[6:30, 9:44] = True
    padded = np.pad(plane, 1, mode="edge")
    found = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * plane
    variance, strength, whole = loops.edge_strength(plane, inside, 8)
    assert variance == pytest.approx(found[inside].var(), rel=1e-4)
    pair = torch.from_numpy(np.stack([np.square(found), inside.astype(np.float32)]))
    expected = functional.avg_pool2d(pair, 8)
    torch.testing.assert_close(torch.stack([strength, whole]), expected, rtol=1e-4, atol=1e-5)


def test_they_are_taken_only_where_asked_for_and_fit(loops: Pixels) -> None:
    source = picture()
    assert fits(source) is None
    with using(loops):
        assert fits(source) is loops and fits() is loops
        with using(None):
            assert fits(source) is None
        graded = source.clone().requires_grad_(True)
        assert fits(graded) is None
        with torch.no_grad():
            assert fits(graded) is loops
        others = (source.double(), torch.cat([source, source]), picture(5), source[0])
        assert [fits(source, each) for each in others] == [None] * 4
    assert fits(source) is None


def test_they_are_taken_in_the_thread_that_asked(loops: Pixels) -> None:
    seen: list[Pixels | None] = []
    with using(loops):
        thread = threading.Thread(target=lambda: seen.append(fits()))
        thread.start()
        thread.join()
    assert seen == [None]


def test_they_are_compiled_once_and_only_where_that_is_allowed(
    loops: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BackendUnavailable, match="livedub compile"):
        load(tmp_path, may_compile=False)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / loops.path.name).write_bytes(loops.path.read_bytes())
    monkeypatch.setattr(module, "_build", lambda path: pytest.fail("compiled again"))
    assert load(tmp_path, may_compile=True).path == library_path(tmp_path)


def test_a_compiler_that_fails_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = tmp_path / "wrong.cpp"
    wrong.write_text("this is no program")
    monkeypatch.setattr(module, "_SOURCE", wrong)
    with pytest.raises(BackendUnavailable, match="could not compile wrong.cpp: .*error"):
        load(tmp_path / "made", may_compile=True)
    assert [each.suffix for each in (tmp_path / "made").iterdir()] == [".lock"]


def test_a_source_that_was_not_installed_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SOURCE", tmp_path / "nowhere.cpp")
    with pytest.raises(BackendUnavailable, match="nowhere.cpp is missing: install"):
        load(tmp_path, may_compile=True)
    assert not library_path(tmp_path).exists()


def test_a_library_that_is_damaged_is_said(loops: Pixels, tmp_path: Path) -> None:
    (tmp_path / loops.path.name).write_bytes(b"no library")
    with pytest.raises(BackendUnavailable, match="cannot be loaded.*remove it"):
        load(tmp_path, may_compile=True)


def test_another_source_or_machine_has_a_library_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = library_path(tmp_path)
    monkeypatch.setattr(module, "processor", lambda: "another one")
    second = library_path(tmp_path)
    assert len({first, second}) == 2
