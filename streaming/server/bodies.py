"""Reading what callers ask for: every key is checked, unknown ones are errors, messages are plain."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast, get_args
from urllib.parse import urlsplit

from engine.errors import BadInputError
from streaming.engines import Features
from streaming.live.session import SessionConfig
from streaming.live.sources import SourceKind, SourceSpec, VoiceKind, VoiceSpec
from streaming.pipeline import DELAYS_MS

URL_SCHEMES: Final = ("rtsp", "rtsps", "rtmp", "rtmps", "udp")
"""Network sources that may be asked for."""

Uploads = Callable[[str], Path]
"""Gives the place of an uploaded file by its name."""


def session_config(body: Any, speakers: Mapping[str, Path], features: Features, uploads: Uploads) -> SessionConfig:
    """What a new session is to do.

    Raises:
        BadInputError: something is missing, unknown or out of range.
    """
    asked = _object(
        body, "session", ("source", "voice", "speaker", "effort", "emotion", "intensity", "delay_ms", "consent")
    )
    source = source_spec(asked.get("source", {"kind": "presenter"}), uploads)
    if source.is_of_a_person and asked.get("consent") is not True:
        raise BadInputError(
            'consent is needed: livedub changes what a person is seen to say. Send "consent": true when the person '
            "in the video has agreed to it and you may use the recording."
        )
    speaker = asked.get("speaker", next(iter(speakers), ""))
    if speaker not in speakers:
        raise BadInputError(f"speaker is {speaker!r}; expected one of {', '.join(speakers) or 'none, there is none'}")
    effort = asked.get("effort")
    delay = asked.get("delay_ms")
    if delay is not None and not (_is_whole(delay) and delay in DELAYS_MS):
        raise BadInputError(f"delay_ms is {str(delay)[:20]}; expected a multiple of 20 from 200 to 10000, or none")
    return SessionConfig(
        source,
        voice_spec(asked.get("voice", {"kind": "none"}), uploads),
        speakers[speaker],
        speaker,
        None if effort is None else checked_effort(effort, features),
        None if asked.get("emotion") is None else checked_emotion(asked["emotion"], features),
        checked_intensity(asked.get("intensity", 1.0)),
        delay,
    )


def source_spec(body: Any, uploads: Uploads) -> SourceSpec:
    """Where the pictures come from."""
    asked = _object(body, "source", ("kind", "upload", "url"))
    kind = cast(SourceKind, _one_of(asked.get("kind"), "source.kind", get_args(SourceKind)))
    if kind == "file":
        return SourceSpec(kind, path=uploads(_text(asked.get("upload"), "source.upload")))
    if kind == "url":
        url = _text(asked.get("url"), "source.url")
        parts = urlsplit(url)
        if parts.scheme not in URL_SCHEMES or not parts.netloc or any(c.isspace() or ord(c) < 32 for c in url):
            raise BadInputError(f"source.url: expected an address with {', '.join(s + '://' for s in URL_SCHEMES)}")
        return SourceSpec(kind, url=url)
    return SourceSpec(kind)


def voice_spec(body: Any, uploads: Uploads) -> VoiceSpec:
    """Where the voice comes from."""
    asked = _object(body, "voice", ("kind", "upload", "repeat"))
    kind = cast(VoiceKind, _one_of(asked.get("kind"), "voice.kind", get_args(VoiceKind)))
    repeat = asked.get("repeat", True)
    if not isinstance(repeat, bool):
        raise BadInputError(f"voice.repeat is {repeat!r}; expected true or false")
    path = uploads(_text(asked.get("upload"), "voice.upload")) if kind == "file" else None
    return VoiceSpec(kind, path, repeat)


@dataclass(frozen=True)
class Changes:
    """What is to change in a session; None: stays."""

    effort: int | None
    """Optimisation steps a picture."""
    emotion: str | None
    """Emotion of the dub."""
    intensity: float | None
    """How strong it is."""
    voice: VoiceSpec | None
    """The dubbing voice."""


def changes(body: Any, features: Features, uploads: Uploads) -> Changes:
    """What is to change in a session.

    Raises:
        BadInputError: nothing is, or something is unknown or out of range.
    """
    asked = _object(body, "changes", ("effort", "emotion", "intensity", "voice"))
    if not asked:
        raise BadInputError("changes: got none; expected effort, emotion, intensity or voice")
    return Changes(
        checked_effort(asked["effort"], features) if "effort" in asked else None,
        checked_emotion(asked["emotion"], features) if "emotion" in asked else None,
        checked_intensity(asked["intensity"]) if "intensity" in asked else None,
        voice_spec(asked["voice"], uploads) if "voice" in asked else None,
    )


def checked_emotion(emotion: Any, features: Features) -> str:
    """An emotion that the engine has."""
    return _one_of(emotion, "emotion", features.emotions)


def checked_intensity(intensity: Any) -> float:
    """A share from 0 to 1."""
    if isinstance(intensity, bool) or not isinstance(intensity, int | float) or not 0 <= intensity <= 1:
        raise BadInputError(f"intensity is {str(intensity)[:20]}; expected a number from 0 to 1")
    return float(intensity)


def checked_effort(effort: Any, features: Features) -> int:
    """An effort that the engine has."""
    if not _is_whole(effort) or not 0 <= effort <= features.max_effort:
        raise BadInputError(f"effort is {effort!r}; expected a whole number from 0 to {features.max_effort}")
    return int(effort)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _object(body: Any, what: str, keys: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise BadInputError(f"{what}: got {type(body).__name__}, expected an object")
    unknown = [str(key) for key in body if key not in keys]
    if unknown:
        raise BadInputError(f"{what}: unknown {', '.join(sorted(unknown))[:80]}; expected {', '.join(keys)}")
    return body


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 2000:
        raise BadInputError(f"{what}: got {type(value).__name__}, expected a text of at most 2000 characters")
    return value


def _one_of(value: Any, what: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise BadInputError(f"{what} is {str(value)[:40]!r}; expected one of {', '.join(allowed)}")
    return str(value)
