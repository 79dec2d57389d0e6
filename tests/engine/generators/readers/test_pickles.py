"""Pickles as notes: every opcode that Python writes is understood, and nothing that a pickle asks for happens."""

import builtins
import collections
import io
import os
import pickle
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import WeightsFormatError
from engine.generators.readers.pickles import Made, Name, Reference, read_pickle
from tests.engine.generators.checkpoint_files import pickled

pytestmark = pytest.mark.unit


def root_of(data: bytes) -> Any:
    return read_pickle(io.BytesIO(data), "test.pkl").root


class Calls:
    """Pickles itself as a call of something with arguments."""

    def __init__(self, function: Callable[..., object], *args: object) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        """The call."""
        return self.call


class Plain:
    """An object without methods of its own for pickling."""

    def __init__(self) -> None:
        self.number = 5


plain_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=4)
        | st.sets(st.integers(), max_size=4)
    ),
    max_leaves=20,
)


@settings(max_examples=60, deadline=None)
@given(value=plain_values, protocol=st.integers(4, 5))
def test_plain_data_are_read_as_python_reads_them(value: object, protocol: int) -> None:
    assert root_of(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", range(6))
def test_shared_and_nested_objects_keep_their_identity(protocol: int) -> None:
    inner: list[object] = [1, "two", 3.0, True, None]
    found = root_of(pickle.dumps({"a": inner, "b": [inner, (inner, inner), (1, 2, 3, 4)]}, protocol))
    assert found["a"] is found["b"][0] is found["b"][1][0] and found["a"] == inner
    assert found["b"][2] == (1, 2, 3, 4)


def test_an_object_that_holds_itself_is_read() -> None:
    loop: list[object] = []
    loop.append(loop)
    found = root_of(pickle.dumps(loop))
    assert found[0] is found


@pytest.mark.parametrize("protocol", range(6))
def test_objects_are_notes_of_their_class_and_state(protocol: int) -> None:
    found = root_of(pickle.dumps(Plain(), protocol))
    assert isinstance(found, Made) and found.state == {"number": 5}
    named = found.args[0] if protocol < 2 else found.name
    assert named == Name(Plain.__module__, "Plain")


@pytest.mark.parametrize("protocol", range(2, 6))
def test_ordered_dictionaries_keep_their_items(protocol: int) -> None:
    found = root_of(pickle.dumps(collections.OrderedDict(a=1, b=[2]), protocol))
    assert isinstance(found, Made) and str(found.name) == "collections.OrderedDict"
    assert found.items == {"a": 1, "b": [2]}


def test_outside_data_are_noted_in_order() -> None:
    class Pickler(pickle.Pickler):
        def persistent_id(self, value: object) -> object:
            return ("storage", value.number) if isinstance(value, Plain) else None

    file = io.BytesIO()
    Pickler(file, protocol=2).dump([Plain(), Plain()])
    notes = read_pickle(io.BytesIO(file.getvalue()), "test.pkl")
    assert [reference.key for reference in notes.references] == [("storage", 5), ("storage", 5)]
    assert isinstance(notes.root, list) and all(isinstance(item, Reference) for item in notes.root)


def test_the_stream_stands_behind_the_pickle() -> None:
    stream = io.BytesIO(pickle.dumps("first") + pickle.dumps("second") + b"numbers")
    assert read_pickle(stream, "x").root == "first"
    assert read_pickle(stream, "x").root == "second"
    assert stream.read() == b"numbers"


def touch(path: Path) -> Calls:
    return Calls(os.system, f"touch {path}")


ATTACKS: dict[str, Callable[[Path], object]] = {
    "os.system": touch,
    "builtins.eval": lambda canary: Calls(eval, f"open({str(canary)!r}, 'w').close()"),
    "builtins.exec": lambda canary: Calls(exec, f"open({str(canary)!r}, 'w').close()"),
    "builtins.open": lambda canary: Calls(open, str(canary), "w"),
    "builtins.getattr": lambda canary: Calls(getattr, Plain, "__init__"),
    "builtins.__import__": lambda canary: Calls(builtins.__import__, "this"),
    "subprocess.Popen": lambda canary: Calls(subprocess.Popen, ["touch", str(canary)]),
    "pickle.loads": lambda canary: Calls(pickle.loads, pickle.dumps(touch(canary))),
    "hidden in a state dict": lambda canary: {"g_ema": collections.OrderedDict(weight=[0, (touch(canary),)])},
    "hidden behind an allowed call": lambda canary: collections.OrderedDict([("a", touch(canary))]),
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_calls_that_no_generator_needs_are_refused_and_not_made(tmp_path: Path, attack: str, protocol: int) -> None:
    canary = tmp_path / "canary"
    data = pickled(ATTACKS[attack](canary), protocol)
    with pytest.raises(WeightsFormatError, match="which no generator needs.*nothing of the file was run"):
        read_pickle(data, "evil.pkl")
    assert not canary.exists()


def test_the_attacks_would_work_on_pythons_own_reader(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    pickle.loads(pickled(touch(canary)).getvalue())  # our own bytes: shows that the corpus is not harmless by accident
    assert canary.exists()


RAW_ATTACKS = {
    "INST of protocol 0": b"(S'touch %b'\nios\nsystem\n.",
    "OBJ of protocol 1": b"(cos\nsystem\nS'touch %b'\no.",
    "posix": b"cposix\nsystem\n(S'touch %b'\ntR.",
    "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x05touch\x85R.",
    "call of a call's result": b"ctorch.storage\n_load_from_bytes\n(tR(S'touch %b'\ntR.",
    "call of text": b"S'os.system'\n(S'touch %b'\ntR.",
    "dotted name": b"\x80\x04\x8c\x08builtins\x8c\x0cset.__init__\x93)R.",
    "allowed name of another module": b"cevil\n_rebuild_tensor_v2\n(tR.",
}


@pytest.mark.parametrize("attack", RAW_ATTACKS)
def test_other_ways_to_write_a_call_are_refused_too(tmp_path: Path, attack: str) -> None:
    canary = tmp_path / "canary"
    with pytest.raises(WeightsFormatError, match="[Rr]efused"):
        root_of(RAW_ATTACKS[attack].replace(b"%b", str(canary).encode()))
    assert not canary.exists()


def test_constructing_and_setting_state_changes_nothing_real() -> None:
    before = dict(vars(Plain))
    found = root_of(b"c" + Plain.__module__.encode() + b"\nPlain\n)\x81}S'number'\nI7\nsb.")
    assert isinstance(found, Made) and found.state == {"number": 7}
    assert root_of(b"cos\nsystem\n}S'x'\nI1\nsb.") == Name("os", "system")
    assert dict(vars(Plain)) == before and not hasattr(os.system, "x")


@pytest.mark.parametrize("opcode", [b"\x82\x01", b"\x83\x01\x00", b"\x84\x01\x00\x00\x00", b"\x97", b"N\x98"])
def test_extension_codes_and_outside_buffers_are_not_known(opcode: bytes) -> None:
    with pytest.raises(WeightsFormatError, match="not known in any generator"):
        root_of(b"\x80\x05" + opcode + b".")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"no pickle at all",
        b"\x80\x04",
        b"\x80\x04N",
        b"R.",
        b"))R.",
        b"h\x05.",
        b"t.",
        b"(0.",
        b"((e.",
        b"N(I1\nI2\nu.",
        b"]I1\nI2\ns.",
        b"}(I1\nu.",
        b"(I1\nd.",
        b"I1\n(I2\ne.",
        b"cnospace\n",
        b"\x93.",
        b"I1\nI2\n\x93.",
        b"\x81.",
        b"I1\n)\x81.",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",  # eight exabytes of bytes that are not there
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff.",
        b"\x8b\xff\xff\xff\x7f.",
        b"B\xff\xff\xff\x7fxx.",
        b"I" + b"9" * 5000 + b"\n.",
        b"S'unended\n.",
        b"X\x02\x00\x00\x00\xff\xff.",
    ],
)
def test_damaged_pickles_are_reported(data: bytes) -> None:
    with pytest.raises(WeightsFormatError, match="test.pkl"):
        root_of(data)


@settings(max_examples=120, deadline=None)
@given(st.binary(max_size=60))
def test_noise_is_refused_or_read_but_never_breaks(data: bytes) -> None:
    try:
        root_of(data + b".")
    except WeightsFormatError:
        pass


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_changed_bytes_are_refused_or_read_but_never_break(data: st.DataObject) -> None:
    whole = bytearray(pickled({"g_ema": collections.OrderedDict(a=(1, 2.5, "x")), "b": Plain()}, 4).getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        root_of(bytes(whole))
    except WeightsFormatError:
        pass


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1))
def test_every_cut_is_reported(share: float) -> None:
    whole = pickled([{"a": Plain()}, "text", b"bytes" * 20]).getvalue()
    with pytest.raises(WeightsFormatError):
        root_of(whole[: int(share * (len(whole) - 1))])


def test_odd_escapes_in_old_text_are_no_warning() -> None:
    assert root_of(b"S'a\\qb'\n.") == "a\\qb"


def test_deep_nesting_does_not_exhaust_the_stack() -> None:
    deep = b"N" + b"\x85" * 50_000 + b"."
    found = root_of(deep)
    assert isinstance(found, tuple)
    with_key = b"}N" + b"\x85" * 50_000 + b"Ns."  # hashing such a key would run through all of it
    assert len(root_of(with_key)) == 1


def test_doubling_data_stay_small() -> None:
    bomb = b"]q\x00" + b"".join(b"]q" + bytes([n]) + b"(h" + bytes([n - 1]) + b"h" + bytes([n - 1]) + b"e"
                               for n in range(1, 200)) + b"."  # fmt: skip
    found = root_of(bomb)
    assert len(found) == 2 and found[0] is found[1]


@pytest.mark.parametrize("protocol", range(6))
def test_every_protocol_is_read(protocol: int) -> None:
    values = [{"a": [1, 2**40, 2**90, -1, 1.5, "é", True, None, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)], "b": {}}]
    assert root_of(pickle.dumps(values, protocol)) == values


def test_older_protocols_write_bytes_and_sets_as_calls() -> None:
    encoded, numbers = root_of(pickle.dumps([b"x", {1}], 2))
    assert str(encoded.name) == "_codecs.encode" and str(numbers.name).endswith(".set")
