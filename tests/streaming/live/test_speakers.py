"""Speakers that are given, found in a folder, learnt live."""

from pathlib import Path

import pytest

from engine.errors import BadInputError
from streaming.live.speakers import Speakers

pytestmark = pytest.mark.unit


def test_a_folder_of_profiles_is_looked_into_and_made(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "profiles"
    assert Speakers({}, folder).names() == ()
    for name in ("bob", "ann"):
        (folder / f"{name}.safetensors").touch()
    given = {"ann": tmp_path / "given.safetensors"}
    speakers = Speakers(given, folder)
    assert speakers.names() == ("ann", "bob")
    assert speakers.profile("ann") == given["ann"]
    assert speakers.keeps
    speakers.close()
    assert (folder / "bob.safetensors").exists()
    (tmp_path / "file").touch()
    with pytest.raises(BadInputError, match="cannot be a folder"):
        Speakers({}, tmp_path / "file")


def test_without_a_folder_what_is_learnt_goes_in_the_end(tmp_path: Path) -> None:
    speakers = Speakers({}, None)
    place = speakers.place("Ann Other-2")
    place.touch()
    speakers.add("Ann Other-2", place)
    assert speakers.profile("Ann Other-2") == place
    assert not speakers.keeps
    speakers.close()
    assert not place.parent.exists()


@pytest.mark.parametrize("name", ["", " ann", "ann ", "../ann", "a/b", "ann.safetensors", "x" * 41, "a\nb"])
def test_names_that_could_lead_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInputError, match="speaker's name"):
        Speakers({}, tmp_path).place(name)


def test_a_name_that_is_taken_or_unknown_is_refused(tmp_path: Path) -> None:
    speakers = Speakers({"ann": tmp_path / "a"}, tmp_path)
    with pytest.raises(BadInputError, match="a speaker of the name ann already"):
        speakers.place("ann")
    with pytest.raises(BadInputError, match="speaker is 'bob'; expected one of ann"):
        speakers.profile("bob")
