"""The API in OpenAPI 3.1."""

from importlib import metadata
from typing import Any, Final, get_args

from streaming.engines import Features, Quality
from streaming.live.config import State
from streaming.live.enrolment import SECONDS
from streaming.live.sources import SourceKind, VoiceKind
from streaming.server.voice_socket import RATES


def description(features: Features) -> dict[str, Any]:
    """The whole description, as JSON values."""
    one = "/api/sessions/{session}"
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "livedub",
            "version": metadata.version("livedub"),
            "description": "Edits live talking-head video so that the mouth follows another voice. Every output is "
            "edited video and says so: an SEI note in H.264, `a=x-livedub-edited:1` in answers, the header "
            "`Livedub-Edited: 1`. Use it only for people who have agreed.",
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": _schemas(features),
        },
        "security": [{"token": []}, {}],
        "paths": {
            "/api/engine": {"get": _call("What may be asked for", {"200": "speakers, who is ready, emotions, limits"})},
            "/api/speakers/{speaker}": {
                "parameters": [_parameter("speaker")],
                "get": _call("A speaker's profile", {"200": "a file"}),
            },
            "/api/uploads": {"post": _call("Send a video or sound", {"201": "its name"}, "application/octet-stream")},
            "/api/sessions": {
                "get": _call("All sessions", {"200": "sessions"}),
                "post": _call("Begin one", {"201": "the session", "429": "as many as allowed"}, schema="NewSession"),
            },
            one: {
                "parameters": [_parameter("session")],
                "get": _call("State and figures", {"200": "the session"}, answer="Session"),
                "patch": _call("Change it while it runs", {"200": "the session"}, schema="Changes", answer="Session"),
                "delete": _call("End it", {"204": "ended"}),
            },
            f"{one}/interrupt": {
                "parameters": [_parameter("session")],
                "post": _call("Silence the voice now", {"204": "silenced"}),
            },
            f"{one}/voice": {
                "parameters": [_parameter("session"), {"name": "rate", "in": "query", "schema": {"enum": list(RATES)}}],
                "get": _call("WebSocket: 16-bit mono PCM in, played positions back", {"101": "a WebSocket"}),
            },
            **{f"{one}/{kind}": _connection(kind, what) for kind, what in (
                ("whip", "Send a camera or a microphone (RFC 9725)"),
                ("whep", "Watch; view=compare for edited and source side by side"),
            )},
            **{f"{one}/{kind}/{{peer}}": {
                "parameters": [_parameter("session"), _parameter("peer")],
                "delete": _call("End the connection", {"200": "ended"}),
            } for kind in ("whip", "whep")},
            "/metrics": {"get": _call("Figures for Prometheus", {"200": "text"})},
            "/healthz": {"get": _call("Whether the server answers", {"200": "ok"})},
        },
    }  # fmt: skip


_ERROR: Final = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {"type": "object", "properties": {"kind": {"type": "string"}, "message": {"type": "string"}}}
    },
}


def _schemas(features: Features) -> dict[str, Any]:
    effort = {"type": "integer", "minimum": 0, "maximum": features.max_effort, "default": features.default_effort}
    emotion = {
        "emotion": {"enum": list(features.emotions)},
        "intensity": {"type": "number", "minimum": 0, "maximum": 1, "default": 1},
    }
    source = {
        "type": "object",
        "required": ["kind"],
        "additionalProperties": False,
        "properties": {
            "kind": {"enum": list(get_args(SourceKind))},
            "upload": {"type": "string"},
            "url": {"type": "string"},
            "camera": {"type": "string"},
        },
    }
    enroll = {
        "type": "object",
        "description": "learn the face in the source while its pictures pass through, instead of a known speaker",
        "required": ["name"],
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string"},
            "quality": {"enum": list(get_args(Quality)), "default": "draft"},
            "seconds": {"type": "number", "minimum": 1, "maximum": 120, "default": SECONDS},
        },
    }
    voice = {
        "type": "object",
        "required": ["kind"],
        "additionalProperties": False,
        "properties": {
            "kind": {"enum": list(get_args(VoiceKind))},
            "upload": {"type": "string"},
            "url": {"type": "string"},
            "repeat": {"type": "boolean", "default": True},
        },
    }
    return {
        "NewSession": {
            "type": "object",
            "additionalProperties": False,
            "properties": {
                "source": source,
                "voice": voice,
                "speaker": {"type": "string"},
                "enroll": enroll,
                "effort": effort,
                **emotion,
                "delay_ms": {"type": "integer", "minimum": 200, "maximum": 10000, "multipleOf": 20},
                "consent": {"type": "boolean", "description": "the person in the video has agreed to being edited"},
            },
        },
        "Changes": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": False,
            "properties": {"effort": effort, **emotion, "voice": voice, "speaker": {"type": "string"}},
        },
        "Session": {
            "type": "object",
            "required": ["id", "state"],
            "properties": {
                "id": {"type": "string"},
                "state": {"enum": list(get_args(State))},
                "error": {"type": ["string", "null"]},
                "loading": {"type": ["object", "null"], "description": "what, done, total; while the state is loading"},
                "turn": {"type": ["boolean", "null"], "description": "whether a TURN server gave an address"},
                "enrolment": {"type": ["object", "null"], "description": "phase, what, done, total, problem"},
                "stats": {"type": ["object", "null"]},
            },
        },
        "Error": _ERROR,
    }


def _call(
    summary: str, answers: dict[str, str], body: str | None = None, schema: str | None = None, answer: str | None = None
) -> dict[str, Any]:
    """One operation; every one can fail with an Error."""
    responses: dict[str, Any] = {code: {"description": text} for code, text in answers.items()}
    if answer is not None:
        responses["200"]["content"] = {"application/json": {"schema": _ref(answer)}}
    responses["default"] = {"description": "an error", "content": {"application/json": {"schema": _ref("Error")}}}
    call: dict[str, Any] = {"summary": summary, "responses": responses}
    if schema is not None:
        call["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(schema)}}}
    elif body is not None:
        call["requestBody"] = {"required": True, "content": {body: {}}}
    return call


def _connection(kind: str, what: str) -> dict[str, Any]:
    parameters = [_parameter("session")]
    if kind == "whep":
        parameters.append(
            {"name": "view", "in": "query", "schema": {"enum": ["edited", "compare"], "default": "edited"}}
        )
    return {
        "parameters": parameters,
        "post": _call(what, {"201": "the SDP answer; Location ends it", "503": "not running yet"}, "application/sdp"),
        "options": _call("STUN and TURN servers, as Link headers", {"204": "none or some"}),
    }


def _parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
