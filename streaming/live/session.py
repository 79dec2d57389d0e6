"""One live session: a source and a voice, the dub between them, and everybody who watches."""

import asyncio
import logging
import secrets
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, replace
from functools import partial
from typing import Any, Final

from engine.errors import BackendError, BadInputError, LivedubError
from engine.media import VideoFrame
from streaming.clock import MS
from streaming.dubbing import Looking
from streaming.egress.hub import PictureHub, SoundHub, View
from streaming.egress.mux import MuxOutput
from streaming.egress.webrtc import Viewer
from streaming.encoder import CodecName
from streaming.ingest.file import VideoInfo
from streaming.ingest.network import FfmpegStream, NetworkState, Stream, camera_opener, receive
from streaming.ingest.webrtc import Publisher
from streaming.live.config import NotReady, Refused, SessionConfig, State, Surroundings
from streaming.live.dub import LiveDub
from streaming.live.enrolment import LiveEnrolment, NotEnrolled
from streaming.live.known import KnownFaces
from streaming.live.learner import Progress
from streaming.live.media import SessionTime
from streaming.live.preparation import TRIAL_EDITS
from streaming.live.sources import VoiceSpec, played, probe_recording
from streaming.live.voice import PlayOut
from streaming.live.voices import Voices
from streaming.pipeline import LivePipeline, PipelineConfig, fitting_delay_ms
from streaming.stage import TaskOwner
from streaming.worker import Worker

log = logging.getLogger(__name__)

_FADE_MS: Final = 600.0
"""Media time in which the edit of a face that was just learnt or chosen fades in."""


class LiveDubSession:
    """A running session; begun by `start`, ended by `aclose`."""

    def __init__(self, config: SessionConfig, around: Surroundings) -> None:
        """Nothing runs yet."""
        self.id: Final = secrets.token_urlsafe(9)
        """Its name in addresses."""
        self.config = config
        self.state: State = "waiting"
        """Where it is."""
        self.error: str | None = None
        """Why it failed, in a sentence."""
        self.publishers: dict[str, Publisher] = {}
        """WHIP connections."""
        self.viewers: dict[str, Viewer] = {}
        """WHEP connections."""
        self.enrolment: LiveEnrolment | None = None
        """The face that is being learnt, or was."""
        self.loading: Progress | None = None
        """How far the loading is, while it loads."""
        self.turn: bool | None = None
        """Whether a TURN server gave the last connection an address; None: none was asked."""
        self._around = around
        self._pipeline: LivePipeline | None = None
        self._dub: LiveDub | None = None
        self.faces: KnownFaces | None = None
        """What is known of a recording's faces; None: it is not one, or each is looked for when it is edited."""
        self._first: asyncio.Future[VideoFrame] = asyncio.get_running_loop().create_future()
        self._hubs: dict[tuple[CodecName, View], PictureHub] = {}
        self._sound_hub: SoundHub | None = None
        self._workers: list[Worker] = []
        self._media: Final = self._worker("media")
        self._encode: Final = self._worker("encode")
        self._sound: Final = self._worker("sound")
        self._outputs: list[MuxOutput] = []
        self._network: NetworkState | None = None
        self._tasks = TaskOwner(f"session {self.id[:4]}")
        self._voices = Voices(around.clock, self._media, lambda: self._worker("voice"))

    async def start(self) -> None:
        """Open the source and the voice, and begin.

        Raises:
            MediaError: the source or the voice cannot be read.
            BadInputError: a new speaker's name cannot be.
        """
        source, spec = self.config.source, self.config.enrol
        if spec is not None:
            place = self._around.speakers.place(spec.name)
            learner = self._around.make_learner(self._around.engine, spec.quality, place)
            self.enrolment = LiveEnrolment(spec, place, learner, self._worker, self._around.clock)
        await self._voices.prepare(self.config.voice)
        if source.kind in ("presenter", "file"):
            info = await probe_recording(source, self._media)
            if self.config.looks_ahead:
                self.faces = self._around.known.of(info)
            self._tasks.begin("source", self._play(info))
        elif source.kind in ("url", "camera"):
            opener = camera_opener() if source.kind == "camera" else FfmpegStream
            self._tasks.begin("source", self._receive(source.url or "", opener))
        self._tasks.begin("run", self._run())
        self._tasks.begin("watch", self._watch(self._tasks))

    @property
    def pipeline(self) -> LivePipeline:
        """The running pipeline.

        Raises:
            NotReady: there is none yet.
        """
        if self._pipeline is None:
            raise NotReady(f"the session is {self.state}; expected it to be running. Ask again in a second.")
        return self._pipeline

    async def when_running(self) -> None:
        """Wait until the pipeline runs; its pictures may still pass through.

        Raises:
            BackendError: the session has failed.
        """
        await self._when(lambda: self._pipeline is not None)

    async def when_editing(self) -> None:
        """Wait until the dub is used.

        Raises:
            BackendError: the session has failed.
        """
        await self._when(lambda: self.state not in ("waiting", "loading"))

    async def _when(self, holds: Callable[[], bool]) -> None:
        while not holds() and self.state != "failed":
            await self._around.clock.sleep_until(self._around.clock.now() + 50 * MS)
        if self.state == "failed":
            raise BackendError(f"the session has failed: {self.error}")

    @property
    def time(self) -> SessionTime:
        """Media time; raises NotReady before it runs."""
        return self.pipeline.time

    def take_picture(self, frame: VideoFrame) -> None:
        """A picture of the source, as it comes."""
        if not self._first.done():
            self._first.set_result(frame)
        if self.enrolment is not None:
            self.enrolment.push(frame)
        if self._pipeline is not None and self.state in ("running", "waiting", "loading", "ended"):
            self._pipeline.push_picture(frame)

    def pictures(self, codec: CodecName, view: View) -> PictureHub:
        """The hub of a codec and a view, made when first asked for."""
        if (codec, view) not in self._hubs:
            pipeline = self.pipeline
            hub = PictureHub(pipeline.time, self._encode, pipeline.config.delay_ms * MS, codec, view)
            self._hubs[codec, view] = hub
            pipeline.outputs.append(hub)
        return self._hubs[codec, view]

    def sounds(self) -> SoundHub:
        """The hub of sound, made when first asked for."""
        if self._sound_hub is None:
            pipeline = self.pipeline
            self._sound_hub = SoundHub(pipeline.time, self._sound, pipeline.config.delay_ms * MS)
            pipeline.outputs.append(self._sound_hub)
        return self._sound_hub

    def add_output(self, target: str) -> None:
        """Record to an .mp4 file or push to an address as well, from the moment that it runs.

        Raises:
            NotReady: it does not run yet.
            MediaError: the path or address cannot work.
        """
        worker = self._worker(f"mux-{len(self._outputs)}")
        output = MuxOutput(target, self.pictures("H264", "edited"), self._around.clock, worker)
        self._outputs.append(output)
        self.pipeline.outputs.append(output)

    async def watch(self, sdp: str, view: View) -> tuple[str, str]:
        """A viewer's offer; gives the connection's name and the answer.

        Raises:
            NotReady: it does not run yet.
            Refused: there are as many viewers as may be.
            OfferError: the offer cannot be answered.
        """
        if self._pipeline is None:
            raise NotReady(f"the session is {self.state}; expected it to be running. Ask again in a second.")
        if len(self.viewers) >= self._around.max_viewers:
            raise Refused(f"this session has {len(self.viewers)} viewers, as many as are allowed. Try later.")
        name = secrets.token_urlsafe(9)
        viewer = Viewer(self, view, self._around.ice_servers, lambda: self._forget(name))
        self.viewers[name] = viewer
        async with AsyncExitStack() as undo:
            undo.push_async_callback(viewer.aclose)
            answer = await viewer.connect(sdp)
            undo.pop_all()
        self.turn = viewer.peer.relayed
        return name, answer

    async def publish(self, sdp: str) -> tuple[str, str]:
        """A camera's or microphone's offer; gives the connection's name and the answer. A newer one replaces it.

        Raises:
            OfferError: the offer cannot be answered or brings nothing that the session wants.
        """
        name = secrets.token_urlsafe(9)
        picture = self.take_picture if self.config.source.kind == "whip" else None
        sound = partial(self._voices.heard, "whip") if self.config.voice.kind == "whip" else None
        publisher = Publisher(picture, sound, self._media, self._around.ice_servers, lambda: self._forget(name))
        async with AsyncExitStack() as undo:
            undo.push_async_callback(publisher.aclose)
            answer = await publisher.connect(sdp)
            undo.pop_all()
        self.turn = publisher.peer.relayed
        for other_name, other in tuple(self.publishers.items()):
            if other.brings_pictures == publisher.brings_pictures:
                await other.aclose()
                self.publishers.pop(other_name, None)
        self.publishers[name] = publisher
        if publisher.brings_pictures and self._pipeline is not None:
            self._pipeline.new_source()
        return name, answer

    async def hang_up(self, name: str) -> bool:
        """End a connection; False: there is none of this name."""
        peer = self.viewers.get(name) or self.publishers.get(name)
        if peer is None:
            return False
        await peer.aclose()
        return True

    def set_effort(self, effort: int) -> None:
        """Change the effort that is wanted, from the next picture on."""
        self.config = replace(self.config, effort=effort)
        if self._dub is not None:
            self._dub.wanted_effort = effort

    async def set_emotion(self, emotion: str, intensity: float) -> None:
        """Change the emotion of the pictures to come; the engine blends it in."""
        self.config = replace(self.config, emotion=emotion, intensity=intensity)
        dub = self._dub
        if dub is not None:
            await self._around.compute.run(lambda: dub.session.set_emotion(emotion, intensity))

    async def set_voice(self, spec: VoiceSpec) -> None:
        """Change the dubbing voice.

        Raises:
            MediaError: a recording cannot be read.
        """
        await self._voices.prepare(spec)
        self.config = replace(self.config, voice=spec)
        await self._speak()

    async def set_speaker(self, name: str) -> None:
        """Edit with another speaker's profile from now on.

        Raises:
            BadInputError: there is none of this name, or a face is being learnt.
        """
        if self.is_enrolling:
            raise BadInputError("a face is being learnt in this session; choose a speaker when that is done")
        self.config = replace(self.config, profile=self._around.speakers.profile(name), speaker=name)
        if self.state in ("running", "ended"):
            await self._use()

    @property
    def is_enrolling(self) -> bool:
        """Whether a face is being learnt."""
        return self.enrolment is not None and self.enrolment.phase in ("looking", "learning")

    @property
    def play_out(self) -> PlayOut | None:
        """The buffer of a voice that programs send."""
        return self._voices.play_out

    def interrupt(self) -> None:
        """Silence the voice now."""
        if self._pipeline is not None:
            self._pipeline.interrupt()

    def as_dict(self) -> dict[str, Any]:
        """What it does and how it goes, as plain JSON values."""
        loading = self.loading or self._around.preparation.progress
        return {
            "id": self.id,
            "state": self.state,
            "error": self.error,
            "loading": None if loading is None or self.state != "loading" else asdict(loading),
            "edited_with": "livedub",
            "source": self.config.source.kind,
            "voice": self.config.voice.kind,
            "speaker": self.config.speaker,
            "effort": self.config.effort,
            "emotion": self.config.emotion,
            "intensity": self.config.intensity,
            "viewers": len(self.viewers),
            "publishers": len(self.publishers),
            "encoders": {f"{codec} {view}": hub.encoder.name for (codec, view), hub in self._hubs.items()},
            "encoder_kbps": {f"{codec} {view}": hub.rate // 1000 for (codec, view), hub in self._hubs.items()},
            "sent_kbps": {f"{codec} {view}": hub.sending // 1000 for (codec, view), hub in self._hubs.items()},
            "sent_bytes": {f"{codec} {view}": hub.sent_bytes for (codec, view), hub in self._hubs.items()},
            "turn": self.turn,
            "links": [viewer.as_dict() for viewer in self.viewers.values()],
            "faces_known": None if self.faces is None else [len(self.faces), len(self.faces.info.ticks)],
            "enrolment": None if self.enrolment is None else self.enrolment.as_dict(),
            "network": None if self._network is None else dict(vars(self._network)),
            "voice_network": None if self._voices.network is None else dict(vars(self._voices.network)),
            "outputs": [output.state.as_dict() for output in self._outputs],
            "stats": None if self._pipeline is None else self._pipeline.as_dict(),
        }

    async def aclose(self) -> None:
        """End everything; may be called again."""
        self.state = "closed"
        peers: list[Viewer | Publisher] = [*self.viewers.values(), *self.publishers.values()]
        for peer in peers:
            await peer.aclose()
        await self._tasks.end()
        await self._voices.aclose()
        for output in self._outputs:
            await output.aclose()
        for hub in self._hubs.values():
            await hub.aclose()
        if self._sound_hub is not None:
            await self._sound_hub.aclose()
        if self._pipeline is not None:
            await self._pipeline.aclose()
        for worker in self._workers:
            await asyncio.to_thread(worker.close)

    async def _play(self, info: VideoInfo) -> None:
        """Hand a recording on."""
        async for frame in played(info, self._around.clock, self._media):
            self.take_picture(frame)
        self.state = "ended"

    async def _look(self, faces: KnownFaces) -> None:
        """Look for the faces of the recording ahead of their edits, in a thread beside them."""
        config, engine = self.config, self._around.engine
        if len(faces) < faces.total:
            opened = await self._around.compute.run(lambda: engine.live(engine.load(config.profile), config.effort))
            assert isinstance(opened.session, Looking)
            await faces.look_through(opened.session, self._worker("look"))

    async def _receive(self, url: str, opener: Callable[[str], Stream]) -> None:
        """Hand a network source or a camera on, for ever."""
        self._network = NetworkState()
        source = receive(url, self._around.clock, self._worker("source"), self._network, self._source_begun, opener)
        async for item in source:
            if isinstance(item, VideoFrame):
                self.take_picture(item)
            else:
                self._voices.heard("source", item)

    def _source_begun(self) -> None:
        if self._pipeline is not None:
            self._pipeline.new_source()

    async def _run(self) -> None:
        """From the start to running; all that needs no picture is done before the first one comes."""
        around, self.state = self._around, "loading"
        await around.preparation.when_done(self.config.speaker)
        delay_ms, known = self.config.delay_ms, around.known_cost_ms.get(self._cost_key())
        edits = TRIAL_EDITS if known is None else 1
        self.loading = Progress("opening the speaker's profile", 0, 1 + edits)
        if delay_ms is not None:
            await self._begin(delay_ms, known or 300.0)
        dub = await self._open()
        if self._pipeline is None and known is not None:
            await self._begin(fitting_delay_ms(dub.look_ahead_ns / MS, known), known)
        frame = await self._first_picture()
        self._measured(0)
        measured = await around.compute.run(lambda: dub.warm_up(frame, edits, self._measured))
        cost = measured if known is None else (known + measured) / 2
        around.known_cost_ms[self._cost_key()] = cost
        if self._pipeline is None:
            await self._begin(fitting_delay_ms(dub.look_ahead_ns / MS, cost), cost)
        self.pipeline.expect(dub, cost)
        if self.faces is not None and isinstance(dub.session, Looking):
            self._tasks.begin("look", self._look(self.faces))
        self.state, self.loading = "running", None
        if self.enrolment is None:
            self.pipeline.use(dub, resized=self._resized)
        else:
            self._dub = None
            await self._learn(self.enrolment)

    async def _first_picture(self) -> VideoFrame:
        """Wait for it; a recorded voice begins with it."""
        if not self._first.done():
            self.state = "waiting"
        frame = await self._first
        if self.state == "waiting":
            self.state = "loading"
            if self.config.voice.is_recorded:
                await self._speak()
        return frame

    async def _speak(self) -> None:
        """Use the voice that is asked for, once there is where to; a recording waits for the first picture."""
        if self._pipeline is not None and (self._first.done() or not self.config.voice.is_recorded):
            self._pipeline.voice.use(await self._voices.make(self.config.voice))

    def _measured(self, edits: int) -> None:
        """So many trial edits are done; told from the compute thread as well."""
        if (loading := self.loading) is not None:
            self.loading = Progress("measuring this computer", 1 + edits, loading.total)

    async def _learn(self, enrolment: LiveEnrolment) -> None:
        """Let pictures pass through while a face is learnt, then edit with what came of it."""
        self.pipeline.use(None, "enrolling")
        try:
            await enrolment.run()
        except NotEnrolled as error:
            log.warning("session %s: %s", self.id[:4], error)
            self.pipeline.use(None, "not_enrolled")
            return
        self._around.speakers.add(enrolment.spec.name, enrolment.place)
        self.config = replace(self.config, profile=enrolment.place, speaker=enrolment.spec.name)
        await self._use()

    async def _use(self) -> None:
        """Open a dub as configured, and let its edit fade in."""
        self.pipeline.use(await self._open(_FADE_MS), resized=self._resized)

    async def _begin(self, delay_ms: int, cost_ms: float) -> None:
        """Start the pipeline; pictures wait for the dub as long as the delay lets them, and pass through then."""
        self._pipeline = LivePipeline(self._around.clock, self._around.compute, PipelineConfig(delay_ms, cost_ms))
        self._pipeline.hold("preparing")
        await self._speak()

    async def _open(self, fade_ms: float = 0.0) -> LiveDub:
        config, engine = self.config, self._around.engine
        opened = await self._around.compute.run(lambda: engine.live(engine.load(config.profile), config.effort))
        self._dub = LiveDub(opened.session, opened.look_ahead_ms, fade_ms, self.faces)
        if self.config.emotion is not None:
            await self.set_emotion(self.config.emotion, self.config.intensity)
        return self._dub

    def _resized(self) -> None:
        """Pictures of another size came: begin a new dub for them."""
        self._tasks.begin("another size", self._use())

    def _cost_key(self) -> tuple[str, int]:
        effort = self.config.effort
        return self.config.speaker, self._around.engine.features().default_effort if effort is None else effort

    async def _watch(self, tasks: TaskOwner) -> None:
        """Turn the first failure of any task into the session's state."""
        while True:
            waits = [asyncio.ensure_future(tasks.failed.wait())]
            if self._pipeline is not None:
                waits.append(asyncio.ensure_future(self._pipeline.tasks.failed.wait()))
            try:
                await asyncio.wait(waits, timeout=0.5, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()
            error = tasks.error or (self._pipeline.tasks.error if self._pipeline is not None else None)
            if error is not None:
                self.state, self.error = "failed", " ".join(str(error).split()) or type(error).__name__
                if not isinstance(error, LivedubError):
                    log.error("session %s failed", self.id, exc_info=error)
                return

    def _worker(self, what: str) -> Worker:
        """A thread that ends with the session."""
        worker = self._around.make_worker(f"livedub-{what}-{self.id[:4]}")
        self._workers.append(worker)
        return worker

    def _forget(self, name: str) -> None:
        self.viewers.pop(name, None)
        self.publishers.pop(name, None)
