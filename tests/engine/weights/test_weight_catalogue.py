"""The catalogue says enough about every file to fetch, check and judge it."""

import re

import pytest

from engine.weights import CATALOGUE

pytestmark = pytest.mark.unit

PUBLISHED_PREFIXES = {
    "mobilestylegan-synthesis-bin": "c7da15fa22d508c8",
    "mobilestylegan-mapping-bin": "212dd716bdb556e1",
    "mobilestylegan-synthesis-xml": "7918fce515243954",
    "mobilestylegan-mapping-xml": "73e2096cad6e696e",
    "stlpips-vgg": "44597da68f49c183",
    "stlpips-alex": "b356b382f96010f7",
    "mesh": "1055cb9d4a9ca8b8",
    "detector-short": "3bc182eb9f33925d",
    "detector-full": "99bf9494d84f50ac",
    "detector-back": "e376cf6b168d5ece",
    "iris": "d1744d2a09c25f50",
    "dlib-68": "fbdc2cb80eb9aa7a",
    "dlib-identity": "55533b28a95800a5",
}


@pytest.mark.parametrize("name", CATALOGUE)
def test_entry_is_complete(name: str) -> None:
    known = CATALOGUE[name]
    assert known.name == name
    assert re.fullmatch(r"[0-9a-f]{64}", known.sha256)
    assert known.size > 0
    assert known.licence
    wanted = r"@?[\w./-]+@[\d.]+" if known.kind == "npm" else r"[\w.-]+==[\d.]+"
    assert re.fullmatch(wanted, known.archive) and "/" not in known.folder


@pytest.mark.parametrize(("name", "prefix"), PUBLISHED_PREFIXES.items())
def test_hash_is_the_one_seen_by_hand(name: str, prefix: str) -> None:
    assert CATALOGUE[name].sha256.startswith(prefix)


def test_cached_names_do_not_collide() -> None:
    places = [(known.folder, known.file_name) for known in CATALOGUE.values()]
    assert len(set(places)) == len(places)


def test_companions_exist_and_lie_in_the_same_folder() -> None:
    pairs = [(known, CATALOGUE[name]) for known in CATALOGUE.values() for name in known.companions]
    assert pairs
    assert all(one.folder == other.folder for one, other in pairs)


@pytest.mark.parametrize("name", CATALOGUE)
def test_tags_name_one_wheel(name: str) -> None:
    known = CATALOGUE[name]
    assert not known.tag or (known.kind == "wheel" and re.fullmatch(r"cp\d+-cp\d+-[a-z0-9_]+", known.tag))


def test_limits_of_use_are_told() -> None:
    assert "non-commercial" in CATALOGUE["mobilestylegan-synthesis-bin"].note
    assert "non-commercial" in CATALOGUE["dlib-68"].note
