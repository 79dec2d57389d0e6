"""`livedub serve`: the live engine in a browser, over WHIP, WHEP and an HTTP API."""

import argparse
import asyncio
import os
import signal
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from engine.errors import BackendError, BadInputError
from streaming.commands.common import Context, Subparsers, add_following, add_json
from streaming.consent import require_consent, stated
from streaming.engines import READY_SPEAKERS

if TYPE_CHECKING:
    from streaming.live.config import SessionConfig
    from streaming.live.session import LiveDubSession
    from streaming.server.settings import ServerSettings

TOKEN_VARIABLE = "LIVEDUB_TOKEN"
"""Environment variable with the bearer token: a command line can be read by others."""


def add(commands: Subparsers) -> None:
    """Describe the command."""
    about = "dub live in a browser"
    parser = commands.add_parser(
        "serve",
        help=about,
        description=f"{about.capitalize()}: serves a page, WHIP, WHEP and an HTTP API until ctrl-C. A bearer token in "
        f"{TOKEN_VARIABLE} is required beyond loopback.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on (default: 8080; 0: any)")
    parser.add_argument("--speaker", action="append", default=[], metavar="[NAME=]PROFILE", help="who may be edited, "
                        "beside the shipped presenter; may be repeated")  # fmt: skip
    parser.add_argument("--source", metavar="SOURCE", help="begin a session at once: presenter, a file, an address "
                        "(rtsp, rtmp, udp), or camera; the page shows it")  # fmt: skip
    parser.add_argument("--enroll", metavar="NAME", help="learn the face in that session's source live, under this "
                        "name, while its pictures pass through")  # fmt: skip
    parser.add_argument("--profiles", type=Path, metavar="FOLDER", help="more profiles; faces learnt live are kept "
                        "there (default: they go when the server ends)")  # fmt: skip
    parser.add_argument("--camera", action="append", default=[], metavar="NAME", help="a camera of this machine that "
                        "sessions may use, such as /dev/video0; may be repeated")  # fmt: skip
    parser.add_argument("--audio", type=Path, metavar="FILE", help="speech for that session (default: the shipped one)")
    parser.add_argument("--effort", type=int, metavar="N", help="optimisation steps a picture of that session")
    parser.add_argument("--delay", type=int, metavar="MS", help="its delay in ms, a multiple of 20 (default: measured)")
    add_following(parser)
    parser.add_argument("--record", metavar="FILE.mp4", help="record that session as well")
    parser.add_argument("--push", action="append", default=[], metavar="URL", help="push that session to rtmp://, "
                        "rtmps:// or udp:// as well; may be repeated")  # fmt: skip
    parser.add_argument("--consent", action="store_true", help="state that the person in the source has agreed")
    parser.add_argument("--ice-server", action="append", default=[], metavar="URL", help="stun:HOST[:PORT] or "
                        "turn:USER:PASSWORD@HOST[:PORT]; may be repeated; none by default")  # fmt: skip
    parser.add_argument("--ice-host", action="append", default=[], metavar="ADDRESS", help="address to offer for media "
                        "(default: all but loopback); may be repeated")  # fmt: skip
    parser.add_argument("--max-sessions", type=int, default=2, metavar="N", help="sessions at a time (default: 2)")
    parser.add_argument("--max-viewers", type=int, default=8, metavar="N", help="viewers of a session (default: 8)")
    add_json(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, context: Context) -> int:
    """Serve until ctrl-C or a request to end; both end it in good order."""
    try:
        from streaming.server.app import Server
    except ImportError as error:
        raise BackendError(f"`livedub serve` needs more packages: {error}. pip install 'livedub[live]'") from error
    settings = _settings(args)
    first = _first_session(args, settings, context)

    async def serve() -> None:
        """The whole life of the server."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        async with Server(settings, context.engine) as server:
            session = None if first is None else await server.sessions.begin(first)
            values = {"url": server.address, "session": None if session is None else session.id}
            context.screen.result(values, f"livedub listens on {server.address} (ctrl-C ends it)")
            targets = [*([args.record] if args.record else []), *args.push]
            await _until(stop, None if session is None else _send_to(session, targets))
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
            context.screen.say("ending: sessions are closed (ctrl-C again: at once)")

    leave_a_core_free()
    asyncio.run(serve())
    return 0


async def _send_to(session: "LiveDubSession", targets: Sequence[str]) -> None:
    """Record and push a session as soon as it runs; a source may be long in coming."""
    await session.when_running()
    for target in targets:
        session.add_output(target)


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, None] | None) -> None:
    """Wait until the server shall end, or its work has failed."""
    ending = asyncio.ensure_future(stop.wait())
    working = asyncio.ensure_future(work or asyncio.sleep(0))
    try:
        await asyncio.wait((ending, working), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
            await ending
    finally:
        ending.cancel()
        working.cancel()


def leave_a_core_free() -> None:
    """Compute with one thread less than there are: coding, sound and transport must never wait for an edit."""
    torch.set_num_threads(max(1, torch.get_num_threads() - 1))


def _settings(args: argparse.Namespace) -> "ServerSettings":
    from streaming.rtc import IceServer
    from streaming.server.settings import ServerSettings

    speakers = ServerSettings().speakers
    for text in args.speaker:
        name, sep, path = text.partition("=")
        speakers[name if sep else Path(text).stem] = Path(path if sep else text)
    newest_first = tuple(reversed(speakers))
    return ServerSettings(
        host=args.host,
        port=args.port,
        token=os.environ.get(TOKEN_VARIABLE) or None,
        speakers=speakers,
        ready=newest_first[:READY_SPEAKERS],
        profiles=args.profiles,
        cameras=tuple(args.camera),
        ice_servers=tuple(IceServer.parse(text) for text in args.ice_server),
        ice_hosts=tuple(args.ice_host),
        max_sessions=args.max_sessions,
        max_viewers=args.max_viewers,
    )


def _first_session(args: argparse.Namespace, settings: "ServerSettings", context: Context) -> "SessionConfig | None":
    """What `--source` asks for."""
    from streaming.live.config import SessionConfig
    from streaming.live.enrolment import EnrolSpec
    from streaming.live.sources import SourceSpec, VoiceSpec
    from streaming.server.bodies import URL_SCHEMES, checked_effort

    if args.source is None:
        for name in ("audio", "enroll", "effort", "delay", "record", "push"):
            if getattr(args, name) not in (None, []):
                raise BadInputError(f"--{name} belongs to the session of --source; got no --source")
        return None
    if args.source == "presenter":
        source = SourceSpec("presenter")
    elif args.source.partition("://")[0] in URL_SCHEMES:
        source = SourceSpec("url", url=args.source)
    elif args.source == "camera":
        if not settings.cameras:
            raise BadInputError("--source camera: got no --camera; name the camera, for example --camera /dev/video0")
        source = SourceSpec("camera", url=settings.cameras[0])
    else:
        source = SourceSpec("file", path=Path(args.source))
    if source.is_of_a_person:
        require_consent(args.consent, context.screen, context.stdin)
    consent = stated("command line") if source.is_of_a_person else None
    enrol = None if args.enroll is None else EnrolSpec(args.enroll, consent)
    voice = VoiceSpec("presenter") if args.audio is None else VoiceSpec("file", path=args.audio)
    speaker = list(settings.speakers)[-1]
    effort = None if args.effort is None else checked_effort(args.effort, context.engine.features())
    profile = settings.speakers[speaker]
    return SessionConfig(source, voice, profile, speaker, effort, delay_ms=args.delay, enrol=enrol)
