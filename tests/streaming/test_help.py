"""What `--help` says: something about every command and option, in whole sentences, names spelt as they are."""

import argparse
import re
from collections.abc import Iterator

import pytest

from streaming.cli import main
from tests.test_documents import commands

pytestmark = pytest.mark.unit

NAMES = ("StyleGAN2", "WHIP", "WHEP", "HTTP", "PTI", "STIT", "MP4", "C++", "LIVEDUB_TOKEN")
"""Names that help texts use, in the one way that they are spelt."""


PARSERS = commands()


def options(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Everything that can be given to a command, but `--help`."""
    return (each for each in parser._actions if not isinstance(each, argparse._HelpAction | argparse._SubParsersAction))


def test_every_command_is_looked_at() -> None:
    assert len(PARSERS) > 15 and {"dub", "weights import", "train speech", "serve"} <= set(PARSERS)


@pytest.mark.parametrize("name", PARSERS)
def test_every_command_says_what_it_does_in_whole_sentences(name: str) -> None:
    about = PARSERS[name].description
    if name.startswith("train ") and about is None:
        return
    assert about and about[0].isupper() and about.endswith(".")


@pytest.mark.parametrize("name", PARSERS)
def test_every_option_says_what_it_is(name: str) -> None:
    for option in options(PARSERS[name]):
        assert option.help, f"{name}: {option.option_strings or option.dest}"
        assert not option.help.endswith(".") and option.help != option.help.upper()


@pytest.mark.parametrize("name", PARSERS)
def test_names_are_spelt_as_they_are(name: str) -> None:
    text = " ".join(PARSERS[name].format_help().split())
    for proper in NAMES:
        for found in re.finditer(rf"(?<![\w.-]){re.escape(proper)}(?![\w-])", text, re.IGNORECASE):
            assert found[0] == proper


@pytest.mark.parametrize("name", PARSERS)
def test_defaults_that_a_help_text_states_are_the_defaults(name: str) -> None:
    """Numbers and words in "(default: ...)" or "(default ...)" where the parser itself has one."""
    for option in options(PARSERS[name]):
        told = re.search(r"\(default:? ([\w.-]+)[;)]", PARSERS[name]._get_formatter()._expand_help(option))
        plain = isinstance(option.default, str | int | float) and not isinstance(option.default, bool)
        if told is not None and plain and option.default != argparse.SUPPRESS:
            given = f"{option.default:g}" if isinstance(option.default, float) else str(option.default)
            assert told[1] == given, f"{name} {option.option_strings}"


@pytest.mark.parametrize("name", PARSERS)
def test_help_ends_well_and_lists_every_option(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*name.split(), "--help"])
    text = capsys.readouterr().out
    assert ended.value.code == 0 and text.startswith(f"usage: livedub {name}")
    for option in options(PARSERS[name]):
        assert all(word in text for word in option.option_strings)


@pytest.mark.parametrize("name", PARSERS)
def test_machines_can_be_answered_by_every_command_that_does_something(name: str) -> None:
    """`--json` is there, as the README says, wherever a command has no actions below it."""
    below = any(isinstance(each, argparse._SubParsersAction) for each in PARSERS[name]._actions)
    words = {word for option in options(PARSERS[name]) for word in option.option_strings}
    assert below != ("--json" in words)
