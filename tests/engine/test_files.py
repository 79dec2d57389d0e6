"""Files that appear whole or not at all, and outputs that are refused before any work."""

from pathlib import Path

import pytest

from engine.errors import MediaError
from engine.files import atomic_path, check_output, write_atomically

pytestmark = pytest.mark.unit


def test_the_file_appears_at_the_end_only(tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    with atomic_path(target) as part:
        part.write_bytes(b"abc")
        assert not target.exists()
        assert part.parent == target.parent
    assert target.read_bytes() == b"abc"
    assert list(tmp_path.iterdir()) == [target]


def test_any_error_removes_the_part(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), atomic_path(tmp_path / "out.bin") as part:
        part.write_bytes(b"half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_small_files_replace_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("old")
    write_atomically(tmp_path / "a.json", b"new")
    assert (tmp_path / "a.json").read_text() == "new"
    with pytest.raises(MediaError, match="cannot be written"):
        write_atomically(tmp_path / "gone" / "a.json", b"new")


def test_an_output_that_is_an_input_is_refused_under_any_name(tmp_path: Path) -> None:
    video = tmp_path / "clip.mp4"
    video.write_bytes(b"x")
    (tmp_path / "link.mp4").symlink_to(video)
    (tmp_path / "hard.mp4").hardlink_to(video)
    for name in ("clip.mp4", "link.mp4", "hard.mp4"):
        with pytest.raises(MediaError, match="also an input"):
            check_output(tmp_path / name, [video], (".mp4",))


def test_other_outputs_that_cannot_work_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"unknown kind of output '\.avi'; expected \.mp4"):
        check_output(tmp_path / "out.avi", [], (".mp4",))
    with pytest.raises(MediaError, match="does not exist"):
        check_output(tmp_path / "gone" / "out.mp4", [], (".mp4",))
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(MediaError, match="is a folder"):
        check_output(tmp_path / "folder.mp4", [], (".mp4",))
    check_output(tmp_path / "fine.MP4", [tmp_path / "other.mp4"], (".mp4",))


def test_a_file_whose_place_is_taken_by_a_folder_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "out.bin").mkdir()
    with pytest.raises(MediaError, match=r"out\.bin: cannot be written: .*free some space"):
        write_atomically(tmp_path / "out.bin", b"abc")
    assert [path.name for path in tmp_path.iterdir()] == ["out.bin"]


def test_a_part_that_nobody_wrote_is_an_error_and_not_an_empty_file(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="cannot be written"), atomic_path(tmp_path / "out.bin"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_two_writers_of_one_file_do_not_meet_and_the_last_one_stays(tmp_path: Path) -> None:
    target = tmp_path / "out.bin"
    with atomic_path(target) as first, atomic_path(target) as second:
        assert first != second
        first.write_bytes(b"first")
        second.write_bytes(b"second")
    assert target.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_without_permission_is_said_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.files.os.access", lambda *_: False)
    with pytest.raises(MediaError, match="no permission to write"):
        check_output(tmp_path / "out.mp4", [], (".mp4",))
