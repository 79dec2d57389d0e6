"""What goes to and fro in the API, as JSON schemas."""

from typing import Any, Final, get_args

from streaming.engines import Features, Quality
from streaming.live.config import State
from streaming.live.enrolment import SECONDS, Phase
from streaming.live.sources import SourceKind, VoiceKind

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_NUMBER: Final[Schema] = {"type": "number"}
_FLAG: Final[Schema] = {"type": "boolean"}


def schemas(features: Features) -> dict[str, Schema]:
    """Every schema by its name, for what this engine can do."""
    return {**_asked(features), **_told(), **_figures()}


def ref(name: str) -> dict[str, str]:
    """A pointer to a schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: dict[str, Schema], about: str = "", required: tuple[str, ...] | None = None) -> Schema:
    """An object with exactly these properties; all are required where none is named."""
    made: Schema = {"type": "object", "additionalProperties": False, "properties": properties}
    if about:
        made["description"] = about
    wanted = list(properties if required is None else required)
    return {**made, "required": wanted} if wanted else made


def _asked(features: Features) -> dict[str, Schema]:
    """What callers send."""
    effort = {"type": "integer", "minimum": 0, "maximum": features.max_effort, "default": features.default_effort}
    emotion: dict[str, Schema] = {
        "emotion": {"enum": list(features.emotions)},
        "intensity": {"type": "number", "minimum": 0, "maximum": 1, "default": 1},
    }
    source = {"kind": {"enum": list(get_args(SourceKind))}, "upload": _TEXT, "url": _TEXT, "camera": _TEXT}
    voice = {
        "kind": {"enum": list(get_args(VoiceKind))},
        "upload": _TEXT,
        "url": _TEXT,
        "repeat": {"type": "boolean", "default": True},
    }
    enroll = {
        "name": _TEXT,
        "quality": {"enum": list(get_args(Quality)), "default": "draft"},
        "seconds": {"type": "number", "minimum": 1, "maximum": 120, "default": SECONDS},
    }
    learn = "learn the face in the source while its pictures pass through, instead of a known speaker"
    changes = {"effort": effort, **emotion, "voice": ref("Voice"), "speaker": _TEXT}
    return {
        "Source": _object(source, "upload with kind file, url with kind url, camera with kind camera", ("kind",)),
        "Voice": _object(voice, "upload with kind file, url with kind url", ("kind",)),
        "Enroll": _object(enroll, learn, ("name",)),
        "NewSession": _object(
            {
                "source": ref("Source"),
                "voice": ref("Voice"),
                "speaker": _TEXT,
                "enroll": ref("Enroll"),
                "effort": effort,
                **emotion,
                "delay_ms": {"type": "integer", "minimum": 200, "maximum": 10000, "multipleOf": 20},
                "consent": {"type": "boolean", "description": "the person in the video has agreed to being edited"},
            },
            required=(),
        ),
        "Changes": {**_object(changes, required=()), "minProperties": 1},
    }


def _told() -> dict[str, Schema]:
    """What the server answers."""
    progress = {"what": _TEXT, "done": _COUNT, "total": _COUNT}
    ice = {"urls": _TEXT, "username": _or_null(_TEXT), "credential": _or_null(_TEXT)}
    links = {"self": _TEXT, "whep": _TEXT, "whip": _TEXT}
    session: dict[str, Schema] = {
        "id": _TEXT,
        "state": {"enum": list(get_args(State))},
        "error": {**_or_null(_TEXT), "description": "why it failed"},
        "loading": _or_null(ref("Progress")),
        "edited_with": _TEXT,
        "source": {"enum": list(get_args(SourceKind))},
        "voice": {"enum": list(get_args(VoiceKind))},
        "speaker": _TEXT,
        "effort": _or_null(_COUNT),
        "emotion": _or_null(_TEXT),
        "intensity": _NUMBER,
        "viewers": _COUNT,
        "publishers": _COUNT,
        "encoders": _each(_TEXT, "the encoder in use, by codec and view"),
        "encoder_kbps": _each(_COUNT, "most that an encoder may spend; follows the viewers' links"),
        "sent_kbps": _each(_COUNT, "what was encoded in the last second"),
        "sent_bytes": _each(_COUNT, "encoded pictures in all"),
        "turn": {**_or_null(_FLAG), "description": "whether a TURN server gave an address; null: none was asked"},
        "links": {"type": "array", "items": ref("Link")},
        "faces_known": {"type": ["array", "null"], "items": _COUNT, "description": "pictures known, pictures in all"},
        "enrolment": _or_null(ref("Enrolment")),
        "network": _or_null(ref("Network")),
        "voice_network": _or_null(ref("Network")),
        "outputs": {"type": "array", "items": ref("Output")},
        "stats": _or_null(ref("Stats")),
    }
    return {
        "Error": _object({"error": _object({"kind": _TEXT, "message": _TEXT})}),
        "Progress": _object(progress, "what is done at present, and how far it is"),
        "Upload": _object({"upload": _TEXT, "bytes": _COUNT}),
        "Engine": _object({
            "preparing": _or_null(ref("Progress")), "ready": _list(_TEXT), "speakers": _list(_TEXT),
            "keeps_speakers": _FLAG, "qualities": _list(_TEXT), "cameras": _list(_TEXT), "default_effort": _COUNT,
            "max_effort": _COUNT, "emotions": _list(_TEXT), "url_schemes": _list(_TEXT),
            "ice_servers": _list(_object(ice)),
            "limits": _object({"sessions": _COUNT, "viewers": _COUNT, "upload_mb": _COUNT}),
        }),
        "Session": _object(session),
        "Begun": _object({**session, "links": _object(links, "addresses of the session")}),
        "Sessions": _object({"sessions": _list(ref("Session"))}),
    }  # fmt: skip


def _figures() -> dict[str, Schema]:
    """How connections, sources, outputs and pictures go."""
    link: dict[str, Schema] = {
        "codec": _or_null({"enum": ["H264", "VP8"]}),
        "lost_share": _or_null(_NUMBER),
        "limit_kbps": {**_or_null(_COUNT), "description": "null: no limit is known"},
        "queue_ms": {**_or_null(_COUNT), "description": "how long packets wait on the way"},
        "asked_again": _COUNT,
        "key_requests": _COUNT,
        "overflows": _COUNT,
    }
    network = {"connected": _FLAG, "attempts": _COUNT, "has_sound": _FLAG, "problem": _or_null(_TEXT)}
    output = {"target": _TEXT, "writing": _FLAG, "pictures": _COUNT, "attempts": _COUNT, "problem": _or_null(_TEXT)}
    enrolment: dict[str, Schema] = {
        "name": _TEXT,
        "quality": {"enum": list(get_args(Quality))},
        "phase": {"enum": list(get_args(Phase))},
        "what": _TEXT,
        "done": _COUNT,
        "total": _COUNT,
        "pictures": _COUNT,
        "problem": _or_null(_TEXT),
    }
    counts = ("frames_in", "released", "edited", "skipped", "late", "sound_blocks", "stalls", "stalled_ms", "edits",
              "source_restarts")  # fmt: skip
    times = ("edit_ms_p50", "edit_ms_p95", "job_ms_p95", "av_offset_ms")
    stats: dict[str, Schema] = {
        "delay_ms": {**_COUNT, "description": "from media time to the viewers"},
        "voice": _TEXT,
        "voice_held_ms": _NUMBER,
        **dict.fromkeys(counts, _COUNT),
        "passed_through": _each(_COUNT, "pictures sent untouched, by the reason"),
        "efforts": _each(_COUNT, "edited pictures by optimisation steps"),
        "effort": _or_null(_COUNT),
        "overloaded": _FLAG,
        "face": {"type": "string", "description": "what the last picture showed: edited, or why it was not"},
        **dict.fromkeys(("fps_in", "fps_out", "fps_edited", "edits_ms"), _NUMBER),
        **{name: _or_null(_NUMBER) for name in times},
    }
    return {
        "Link": _object(link, "a viewer's connection"),
        "Network": _object(network, "a network source"),
        "Output": _object(output, "a recording or a push"),
        "Enrolment": _object(enrolment, "a face that is learnt, or was"),
        "Stats": _object(stats, "counts since the start; rates and times of the last four seconds"),
    }


def _or_null(schema: Schema) -> Schema:
    kind = schema.get("type")
    return {**schema, "type": [kind, "null"]} if isinstance(kind, str) else {"oneOf": [schema, {"type": "null"}]}


def _list(schema: Schema) -> Schema:
    return {"type": "array", "items": schema}


def _each(schema: Schema, about: str) -> Schema:
    return {"type": "object", "additionalProperties": schema, "description": about}
