"""State dicts by name out of files that nobody runs."""

from pathlib import Path

import pytest
import torch

from engine.errors import BadInputError, WeightsFormatError
from engine.generators.readers.state import named_tensors, read_state
from engine.generators.readers.torch_files import open_torch_file

pytestmark = pytest.mark.unit
TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.steps": torch.tensor(7)}


@pytest.mark.parametrize("wrapped", [None, "state_dict", "model"])
@pytest.mark.parametrize("old", [False, True])
def test_tensors_are_found_wherever_a_state_dict_may_lie(wrapped: str | None, old: bool, tmp_path: Path) -> None:
    root = TENSORS if wrapped is None else {wrapped: TENSORS, "opts": {"device": "cuda:0", "rate": 0.1}}
    torch.save(root, tmp_path / "x.pt", _use_new_zipfile_serialization=not old)
    found = read_state(tmp_path / "x.pt", "a network")
    assert set(found) == set(TENSORS)
    assert all(torch.equal(found[name], value) for name, value in TENSORS.items())


def test_only_names_with_the_prefix_are_taken_and_read(tmp_path: Path) -> None:
    torch.save(TENSORS | {"b.weight": torch.zeros(2), "a.note": "text"}, tmp_path / "x.pt")
    file = open_torch_file(tmp_path / "x.pt")
    assert set(named_tensors(file, file.root, "a.")) == {"weight", "steps"}
    assert named_tensors(file, ["no mapping"]) == {}


def test_files_without_tensors_are_refused_in_words(tmp_path: Path) -> None:
    torch.save({"epoch": 4, "loss": [1.0]}, tmp_path / "x.pt")
    with pytest.raises(WeightsFormatError, match="got epoch, loss, expected the tensors of a network by name"):
        read_state(tmp_path / "x.pt", "a network")
    with pytest.raises(BadInputError, match="no such file"):
        read_state(tmp_path / "y.pt", "a network")
