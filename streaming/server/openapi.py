"""The API in OpenAPI 3.1."""

from importlib import metadata
from typing import Any, Final

from streaming.engines import Features
from streaming.server.schemas import ref, schemas
from streaming.server.voice_socket import RATES

_JSON: Final = "application/json"
_SDP: Final = "application/sdp"


def description(features: Features) -> dict[str, Any]:
    """The whole description, as JSON values."""
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
            "schemas": schemas(features),
        },
        "security": [{"token": []}, {}],
        "tags": [{"name": name, "description": about} for name, about in _TAGS.items()],
        "paths": {**_server_paths(), **_session_paths(), **_media_paths()},
    }


_TAGS: Final = {
    "server": "What may be asked for, files, figures",
    "sessions": "Begin, change, look at and end",
    "media": "Pictures and sound in and out",
}
_ONE: Final = "/api/sessions/{session}"


def _server_paths() -> dict[str, Any]:
    speaker = _answer("a safetensors file", kind="application/octet-stream")
    return {
        "/api/engine": {
            "get": _call("server", "engine", "What may be asked for", {200: _answer("this", "Engine")}),
        },
        "/api/speakers/{speaker}": {
            "parameters": [_parameter("speaker")],
            "get": _call("server", "speaker", "A speaker's profile", {200: speaker, 404: _failed("nobody")}),
        },
        "/api/uploads": {
            "post": _call(
                "server", "upload", "Send a video or sound as the body",
                {201: _answer("its name, for source.upload or voice.upload", "Upload"), 413: _failed("too large")},
                body="application/octet-stream",
            ),
        },
        "/metrics": {
            "get": _call("server", "metrics", "Figures for Prometheus", {200: _answer("text", kind="text/plain")}),
        },
        "/healthz": {"get": _call("server", "health", "Whether the server answers", {200: _answer("it does")})},
    }  # fmt: skip


def _session_paths() -> dict[str, Any]:
    session, gone = _answer("the session", "Session"), _failed("there is none of this name")
    full = _failed("as many as allowed, or a face is being learnt already")
    begun = _answer("it begins; Location is its address", "Begun")
    return {
        "/api/sessions": {
            "get": _call("sessions", "sessions", "All sessions", {200: _answer("these", "Sessions")}),
            "post": _call("sessions", "begin", "Begin one", {201: begun, 400: _failed("it cannot be"), 429: full},
                          schema="NewSession"),
        },
        _ONE: {
            "parameters": [_parameter("session")],
            "get": _call("sessions", "session", "State and figures", {200: session, 404: gone}),
            "patch": _call("sessions", "change", "Change it while it runs",
                           {200: session, 400: _failed("it cannot be"), 404: gone}, schema="Changes"),
            "delete": _call("sessions", "end", "End it", {204: _answer("it has ended"), 404: gone}),
        },
        f"{_ONE}/interrupt": {
            "parameters": [_parameter("session")],
            "post": _call("sessions", "interrupt", "Silence the voice now", {204: _answer("silenced"), 404: gone}),
        },
    }  # fmt: skip


def _media_paths() -> dict[str, Any]:
    rate = {"name": "rate", "in": "query", "schema": {"enum": list(RATES)}, "description": "samples a second"}
    voice = (
        "WebSocket. Send 16-bit little-endian mono PCM as binary messages, as fast as it is made, and "
        '`{"type": "interrupt"}` to silence it; played positions come back as JSON.'
    )
    connections = (
        ("whip", "Send a camera or a microphone (RFC 9725)"),
        ("whep", "Watch; view=compare for edited and source side by side"),
    )
    return {
        f"{_ONE}/voice": {
            "parameters": [_parameter("session"), rate],
            "get": _call("media", "voice", voice, {101: _answer("a WebSocket")}),
        },
        **{f"{_ONE}/{kind}": _connection(kind, what) for kind, what in connections},
        **{
            f"{_ONE}/{kind}/{{peer}}": {
                "parameters": [_parameter("session"), _parameter("peer")],
                "delete": _call("media", f"end_{kind}", "End the connection", {200: _answer("it has ended")}),
            }
            for kind, _ in connections
        },
    }


def _call(
    tag: str,
    name: str,
    summary: str,
    answers: dict[int, dict[str, Any]],
    body: str | None = None,
    schema: str | None = None,
) -> dict[str, Any]:
    """One operation; every one can fail with an Error."""
    responses = {str(code): answer for code, answer in answers.items()}
    responses["default"] = _failed("an error")
    call: dict[str, Any] = {"tags": [tag], "operationId": name, "summary": summary, "responses": responses}
    if schema is not None:
        call["requestBody"] = {"required": True, "content": {_JSON: {"schema": ref(schema)}}}
    elif body is not None:
        call["requestBody"] = {"required": True, "content": {body: {}}}
    return call


def _answer(text: str, schema: str | None = None, kind: str | None = None) -> dict[str, Any]:
    """An answer with JSON of a schema, with a body of another kind, or without any."""
    if schema is not None:
        return {"description": text, "content": {_JSON: {"schema": ref(schema)}}}
    return {"description": text, "content": {kind: {}}} if kind else {"description": text}


def _failed(text: str) -> dict[str, Any]:
    return _answer(text, "Error")


def _connection(kind: str, what: str) -> dict[str, Any]:
    parameters = [_parameter("session")]
    if kind == "whep":
        parameters.append(
            {"name": "view", "in": "query", "schema": {"enum": ["edited", "compare"], "default": "edited"}}
        )
    begun = _answer("the SDP answer; DELETE what Location names to end it", kind=_SDP)
    refused = {400: _failed("the offer cannot be answered"), 503: _failed("not running yet: try again in a second")}
    return {
        "parameters": parameters,
        "post": _call("media", kind, what, {201: begun, **refused}, body=_SDP),
        "options": _call("media", f"ice_{kind}", "STUN and TURN servers", {204: _answer("as Link headers")}),
    }


def _parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
