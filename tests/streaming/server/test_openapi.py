"""The description of the API: whole, consistent, and what the server really answers."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.receiver import watching
from streaming.engines import Features
from streaming.server.openapi import description
from tests.streaming.clips import gradient, make_video
from tests.streaming.server.serving import serving

pytestmark = pytest.mark.unit

API = description(Features(default_effort=0, max_effort=4, emotions=("neutral", "happy")))
TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict,
    "null": type(None),
}  # fmt: skip


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """Where a profile lies."""
    return tmp_path / "ann.safetensors"


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    """Every method of every path."""
    methods = ("get", "post", "patch", "delete", "options")
    return [(path, m, item[m]) for path, item in API["paths"].items() for m in methods if m in item]


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema, wherever it stands."""
    while "$ref" in schema:
        at: Any = API
        for part in schema["$ref"].removeprefix("#/").split("/"):
            at = at[part]
        schema = at
    return schema


def problems(value: Any, schema: dict[str, Any], at: str = "answer") -> Iterator[str]:
    """Where a value is not what its schema says; as much of JSON Schema as the description uses."""
    schema = resolved(schema)
    if "oneOf" in schema:
        if sum(not list(problems(value, each)) for each in schema["oneOf"]) != 1:
            yield f"{at}: {value!r} is not one of {schema['oneOf']}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is not in {schema['enum']}"
    kinds = schema.get("type", list(TYPES))
    kinds = [kinds] if isinstance(kinds, str) else kinds
    is_flag = isinstance(value, bool)
    if not any(isinstance(value, TYPES[kind]) and (is_flag <= (kind == "boolean")) for kind in kinds):
        yield f"{at}: {value!r} is no {kinds}"
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from problems(each, schema["items"], f"{at}[{index}]")
    if isinstance(value, dict):
        known, more = schema.get("properties", {}), schema.get("additionalProperties", {})
        yield from (f"{at}: has no {name}" for name in schema.get("required", ()) if name not in value)
        for name, each in value.items():
            if name not in known and more is False:
                yield f"{at}: {name} is not described"
            else:
                yield from problems(each, known.get(name, more or {}), f"{at}.{name}")


def test_every_operation_has_a_name_of_its_own_a_tag_a_summary_and_an_answer() -> None:
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names)) >= 18
    tags = {tag["name"] for tag in API["tags"]}
    for path, method, operation in operations():
        assert set(operation["tags"]) <= tags, path
        assert operation["summary"], path
        codes = set(operation["responses"])
        assert codes & {"101", "200", "201", "204"}, (path, method)
        assert "default" in codes
        for code, answer in operation["responses"].items():
            assert answer["description"]
            if code[0] in "45d":
                schema = answer["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Error"}


def test_every_pointer_leads_somewhere_and_every_schema_is_used() -> None:
    def pointers(value: Any) -> Iterator[str]:
        """All of them below a value."""
        if isinstance(value, dict):
            yield from ([value["$ref"]] if "$ref" in value else [])
            for each in value.values():
                yield from pointers(each)
        elif isinstance(value, list):
            for each in value:
                yield from pointers(each)

    used = {pointer.rpartition("/")[2] for pointer in pointers(API)}
    assert used == set(API["components"]["schemas"])


def test_every_part_of_a_path_is_described() -> None:
    for path, item in API["paths"].items():
        named = {p["name"] for p in item.get("parameters", ()) if p["in"] == "path"}
        assert named == {part[1:-1] for part in path.split("/") if part.startswith("{")}, path


def schema_of(path: str, method: str, code: int) -> dict[str, Any]:
    """What an answer holds."""
    found: dict[str, Any] = API["paths"][path][method]["responses"][str(code)]["content"]["application/json"]["schema"]
    return found


def test_what_is_answered_is_what_is_described(profile: Path, tmp_path: Path) -> None:
    video = make_video(tmp_path / "clip.mp4", [gradient(i, 64, 48) for i in range(50)])
    one = "/api/sessions/{session}"

    async def main() -> None:
        async with serving(profile) as client:

            async def told(method: str, path: str, code: int, place: str | None = None, body: Any = None) -> Any:
                """Call, and compare the answer with its description."""
                answer = await client.call(method.upper(), place or path, body)
                assert answer.status == code, answer.body
                assert list(problems(answer.body, schema_of(path, method, code))) == []
                return answer.body

            await told("get", "/api/engine", 200)
            asked = {
                "source": {"kind": "file", "upload": await client.upload(video)},
                "voice": {"kind": "presenter"},
                "speaker": "ann",
                "delay_ms": 400,
                "consent": True,
            }
            assert list(problems(asked, {"$ref": "#/components/schemas/NewSession"})) == []
            begun = await told("post", "/api/sessions", 201, body=asked)
            place = begun["links"]["self"]
            await client.when(place, lambda now: now["state"] == "running")
            client.server.sessions.all()[0].add_output(str(tmp_path / "r.mp4"))
            async with watching(client.url(place)) as got:
                await got.seen(10)
                running = await told("get", one, 200, place)
                assert running["stats"]["released"] > 0
                assert running["links"] and running["outputs"]
                assert running["sent_bytes"]["H264 edited"] > 0
                assert running["sent_kbps"]["H264 edited"] <= running["encoder_kbps"]["H264 edited"]
            await told("patch", one, 200, place, {"emotion": "happy", "intensity": 0.5})
            await told("get", "/api/sessions", 200)
            wrong = await client.call("PATCH", place, {"effort": 99})
            assert wrong.status == 400
            assert list(problems(wrong.body, {"$ref": "#/components/schemas/Error"})) == []

    asyncio.run(main())


def test_figures_of_learning_and_of_the_network_are_described() -> None:
    learning = {"name": "bob", "quality": "draft", "phase": "looking", "what": "taking pictures", "done": 1,
                "total": 20, "pictures": 4, "problem": None}  # fmt: skip
    network = {"connected": False, "attempts": 2, "has_sound": False, "problem": "nobody answers"}
    assert list(problems(learning, {"$ref": "#/components/schemas/Enrolment"})) == []
    assert list(problems(network, {"$ref": "#/components/schemas/Network"})) == []


def test_the_comparison_finds_what_is_wrong() -> None:
    network = {"$ref": "#/components/schemas/Network"}
    right = {"connected": False, "attempts": 2, "has_sound": False, "problem": None}
    for wrong in ({**right, "more": 1}, {**right, "attempts": "2"}, {**right, "attempts": True}, {"connected": True}):
        assert list(problems(wrong, network)), wrong
    assert list(problems(5, {"enum": [1, 2]}))
