"""Reads pickles as inert data. Nothing in a file is ever imported, called or constructed.

A pickle is a program for a small stack machine (PEP 307, PEP 3154). Python's own machine does what the program says:
"import os, take `system`, call it". The machine here only takes notes: `Name` where a name is asked for, `Made` where
something is called or constructed, `Reference` where data outside the pickle are named. Readers then pick what they
know out of the notes. Calls of anything that no generator needs end the reading with an error that names it, so that a
file with a payload is refused as a whole.
"""

import pickletools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Any, Final, Protocol

from engine.errors import WeightsFormatError

_CALLS: Final = frozenset(
    {
        "__builtin__.bytearray",
        "__builtin__.frozenset",
        "__builtin__.set",
        "_codecs.encode",
        "builtins.bytearray",
        "builtins.frozenset",
        "builtins.set",
        "collections.OrderedDict",
        "copy_reg._reconstructor",
        "copyreg._reconstructor",
        "numpy._core.multiarray._reconstruct",
        "numpy._core.multiarray.scalar",
        "numpy.core.multiarray._reconstruct",
        "numpy.core.multiarray.scalar",
        "numpy.dtype",
        "pathlib.PosixPath",
        "pathlib.WindowsPath",
        "torch.Size",
        "torch._tensor._rebuild_from_type_v2",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch.device",
        "torch.storage._load_from_bytes",
    }
)
"""What generators of the public repositories call in their pickles. Nothing of it is really called here."""
PERSISTENT: Final = "_reconstruct_persistent_obj"
"""The function by which NVIDIA's repositories rebuild objects from the source text in the pickle: here, never run."""
_PLAIN: Final = (str, bytes, int, float, bool, type(None))


class Stream(Protocol):
    """What the machine reads from."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes, fewer at the end."""

    def readline(self) -> bytes:
        """Up to the end of a line."""

    def tell(self) -> int:
        """Where the next byte is."""


@dataclass(frozen=True, slots=True)
class Name:
    """A class or function that the file names."""

    module: str
    name: str

    def __str__(self) -> str:
        """As it would be imported."""
        return f"{self.module}.{self.name}"


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """Something kept outside the pickle, such as the numbers of a tensor."""

    key: object


@dataclass(slots=True, eq=False)
class Made:
    """Note of a call or a construction that was not carried out."""

    name: Name
    """What would have been called."""
    args: tuple[Any, ...]
    """With what."""
    state: object = None
    """What would have been set on the result."""
    items: dict[Any, Any] = field(default_factory=dict)
    """What would have been put into it by key."""
    values: list[Any] = field(default_factory=list)
    """What would have been appended to it."""


@dataclass(slots=True)
class Notes:
    """What one pickle says."""

    root: object
    """The object."""
    references: list[Reference]
    """All things kept outside, in order."""


def read_pickle(stream: Stream, source: str) -> Notes:
    """Read one pickle from where the stream is; it then stands behind it.

    Raises:
        WeightsFormatError: the pickle is damaged, cut short, or asks for calls that no generator needs.
    """
    machine = _Machine(source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # odd escapes in text are the file's own affair
            for opcode, argument, _ in _operations(stream):
                if opcode == "STOP":
                    return Notes(machine.pop(), machine.references)
                machine.step(opcode, argument)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise WeightsFormatError(
            f"{source}: not a whole pickle ({type(error).__name__}: {str(error)[:120]}); fetch the file again"
        ) from error
    raise WeightsFormatError(f"{source}: the pickle has no end; fetch the file again")


def _operations(stream: Stream) -> Iterator[tuple[str, Any, int | None]]:
    reader: Any = stream  # the library asks for IO[bytes], it uses what Stream has
    file: IO[bytes] = reader
    for opcode, argument, position in pickletools.genops(file):
        yield opcode.name, argument, position


class _Machine:
    """Stack, marks and memo of one pickle."""

    def __init__(self, source: str) -> None:
        self.references: list[Reference] = []
        self._source: Final = source
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def step(self, opcode: str, argument: Any) -> None:
        """Take note of one operation."""
        if opcode in _PUSHES:
            self._stack.append(argument)
        elif opcode in _ACTIONS:
            _ACTIONS[opcode](self, argument)
        elif opcode not in ("PROTO", "FRAME"):
            raise WeightsFormatError(f"{self._source}: pickle operation {opcode} is not known in any generator's file")

    def pop(self) -> Any:
        """The top of the stack."""
        if self._marks and self._marks[-1] >= len(self._stack):
            raise ValueError("a mark is taken for a value")
        return self._stack.pop()

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self._stack.append(value)

    def top(self) -> Any:
        """The top of the stack, left there."""
        return self._stack[-1]

    def mark(self, argument: Any) -> None:
        """Remember how high the stack is."""
        self._marks.append(len(self._stack))

    def marked(self) -> list[Any]:
        """All values above the last mark, taken off."""
        start = self._marks.pop()
        values = self._stack[start:]
        del self._stack[start:]
        return values

    def forget(self) -> None:
        """Drop all values above the last mark."""
        self.marked()

    def taken(self, count: int) -> list[Any]:
        """The `count` values on top, taken off."""
        if count > len(self._stack) - (self._marks[-1] if self._marks else 0):
            raise ValueError("the stack is too short")
        values = self._stack[-count:]
        del self._stack[-count:]
        return values

    def remember(self, argument: Any) -> None:
        """Keep the top under a number (MEMOIZE: the next one)."""
        self._memo[len(self._memo) if argument is None else argument] = self._stack[-1]

    def recall(self, argument: Any) -> None:
        """Push what is kept under a number."""
        self._stack.append(self._memo[argument])

    def refer(self, key: object) -> None:
        """Note something that lies outside."""
        reference = Reference(key)
        self.references.append(reference)
        self._stack.append(reference)

    def name(self, module: object, name: object) -> None:
        """Note a class or function."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a name that is no text")
        self._stack.append(Name(module, name))

    def call(self, name: object, args: object) -> None:
        """Note a call, or refuse it."""
        if not isinstance(name, Name) or not isinstance(args, tuple):
            raise WeightsFormatError(
                f"{self._source}: calls something that it built itself; no generator does. Refused"
            )
        if str(name) not in _CALLS and name.name != PERSISTENT:
            raise WeightsFormatError(
                f"{self._source}: asks to call {name}, which no generator needs; it may be an attack. Refused, nothing "
                "of the file was run"
            )
        self._stack.append(Made(name, args))

    def construct(self, name: object, args: object) -> None:
        """Note that an object of a class is made: no code of a class runs for that.

        Before 1.6 `torch.save` wrapped classes of networks in references: ("module", class, file, source text).
        """
        if (
            isinstance(name, Reference)
            and isinstance(name.key, tuple)
            and len(name.key) > 1
            and name.key[0] == "module"
        ):
            name = name.key[1]
        if not isinstance(name, Name) or not isinstance(args, tuple):
            raise ValueError("an object of no class")
        self._stack.append(Made(name, args))

    def build(self, argument: Any) -> None:
        """Note the state of the object below the top."""
        state = self.pop()
        target = self._stack[-1]
        if isinstance(target, Made):
            target.state = state

    def put(self, pairs: list[Any]) -> None:
        """Note keys and values of the top."""
        target = self._stack[-1]
        items = target.items if isinstance(target, Made) else target
        if not isinstance(items, dict) or len(pairs) % 2:
            raise ValueError("items of no mapping")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            items[_key(key)] = value

    def extend(self, values: list[Any]) -> None:
        """Note values appended to the top."""
        target = self._stack[-1]
        held = target.values if isinstance(target, Made) else target
        if isinstance(held, list):
            held.extend(values)
        elif isinstance(held, set):
            held.update(_key(value) for value in values)
        else:
            raise ValueError("values of no list")


def _key(value: object) -> object:
    """Keys that can be hashed without running through whatever the file nested in them."""
    return value if isinstance(value, _PLAIN) else f"<{type(value).__name__} {id(value):x}>"


def _instance(machine: _Machine, argument: Any) -> None:
    """Protocol 0: a call by name with the marked values."""
    machine.name(*str(argument).split(" ", 1))
    machine.call(machine.pop(), tuple(machine.marked()))


def _object(machine: _Machine, argument: Any) -> None:
    """Protocol 1: the same with the name on the stack."""
    values = machine.marked()
    machine.call(values[0], tuple(values[1:]))


def _taken(count: int) -> Callable[[_Machine, Any], None]:
    return lambda m, _: m.push(tuple(m.taken(count)))


def _keyed(values: list[Any]) -> dict[Any, Any]:
    return {_key(key): value for key, value in zip(values[::2], values[1::2], strict=True)}


_PUSHES: Final = frozenset(
    """INT BININT BININT1 BININT2 LONG LONG1 LONG4 STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8
    BYTEARRAY8 UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 FLOAT BINFLOAT""".split()
)
"""Operations that push their own argument."""
_ACTIONS: Final[dict[str, Callable[[_Machine, Any], None]]] = {
    "NONE": lambda m, _: m.push(None),
    "NEWTRUE": lambda m, _: m.push(True),
    "NEWFALSE": lambda m, _: m.push(False),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "EMPTY_DICT": lambda m, _: m.push({}),
    "EMPTY_SET": lambda m, _: m.push(set()),
    "LIST": lambda m, _: m.push(m.marked()),
    "TUPLE": lambda m, _: m.push(tuple(m.marked())),
    "TUPLE1": _taken(1),
    "TUPLE2": _taken(2),
    "TUPLE3": _taken(3),
    "DICT": lambda m, _: m.push(_keyed(m.marked())),
    "FROZENSET": lambda m, _: m.push({_key(value) for value in m.marked()}),
    "APPEND": lambda m, _: m.extend([m.pop()]),
    "APPENDS": lambda m, _: m.extend(m.marked()),
    "ADDITEMS": lambda m, _: m.extend(m.marked()),
    "SETITEM": lambda m, _: m.put(m.taken(2)),
    "SETITEMS": lambda m, _: m.put(m.marked()),
    "POP": lambda m, _: m.pop(),
    "DUP": lambda m, _: m.push(m.top()),
    "MARK": _Machine.mark,
    "POP_MARK": lambda m, _: m.forget(),
    "GET": _Machine.recall,
    "BINGET": _Machine.recall,
    "LONG_BINGET": _Machine.recall,
    "PUT": _Machine.remember,
    "BINPUT": _Machine.remember,
    "LONG_BINPUT": _Machine.remember,
    "MEMOIZE": _Machine.remember,
    "GLOBAL": lambda m, text: m.name(*str(text).split(" ", 1)),
    "STACK_GLOBAL": lambda m, _: m.name(*m.taken(2)),
    "REDUCE": lambda m, _: m.call(*m.taken(2)),
    "INST": _instance,
    "OBJ": _object,
    "NEWOBJ": lambda m, _: m.construct(*m.taken(2)),
    "NEWOBJ_EX": lambda m, _: m.construct(*m.taken(3)[:2]),
    "BUILD": _Machine.build,
    "PERSID": lambda m, text: m.refer(text),
    "BINPERSID": lambda m, _: m.refer(m.pop()),
}
"""All other operations of a generator's file; extension codes and outside buffers have no business there."""
