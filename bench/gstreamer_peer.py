"""GStreamer's webrtcbin as one end of a connection: a WHEP viewer or a WHIP camera. Prints what it saw as JSON.

It runs by itself, with the system's Python that has GStreamer's bindings: `python3 gstreamer_peer.py whep|whip URL
SECONDS`. The session's server knows nothing of it.
"""

import importlib
import json
import sys
import threading
import time
import urllib.request
from typing import Any

gi: Any = importlib.import_module("gi")
for module, version in (("Gst", "1.0"), ("GstSdp", "1.0"), ("GstWebRTC", "1.0")):
    gi.require_version(module, version)
Gst: Any = importlib.import_module("gi.repository.Gst")
GstSdp: Any = importlib.import_module("gi.repository.GstSdp")
GstWebRTC: Any = importlib.import_module("gi.repository.GstWebRTC")

H264 = "application/x-rtp,media=video,encoding-name=H264,payload=96,clock-rate=90000,packetization-mode=(string)1"
OPUS = "application/x-rtp,media=audio,encoding-name=OPUS,payload=97,clock-rate=48000"
CAMERA = (
    "webrtcbin name=peer bundle-policy=max-bundle "
    "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=25/1 ! "
    "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 bitrate=600 ! video/x-h264,profile=baseline ! "
    f"rtph264pay config-interval=1 aggregate-mode=zero-latency ! {H264} ! peer. "
    "audiotestsrc is-live=true wave=ticks ! audioconvert ! audioresample ! opusenc ! rtpopuspay ! "
    f"{OPUS} ! peer."
)


class Peer:
    """One connection."""

    def __init__(self, role: str) -> None:
        """Make the pipeline; nothing runs."""
        self.role = role
        self.begun = time.monotonic()
        self.buffers = {"video": 0, "audio": 0}
        self.first_s: dict[str, float] = {}
        self.pipeline = Gst.parse_launch(CAMERA) if role == "whip" else Gst.Pipeline.new()
        if role == "whep":
            peer = Gst.ElementFactory.make("webrtcbin", "peer")
            peer.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
            self.pipeline.add(peer)
            for caps in (f"{H264},profile-level-id=(string)42e01f", OPUS):
                direction = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
                peer.emit("add-transceiver", direction, Gst.Caps.from_string(caps))
            peer.connect("pad-added", self.incoming)
        self.peer = self.pipeline.get_by_name("peer")

    def incoming(self, _: Any, pad: Any) -> None:
        """Decode a stream that comes, and count."""
        if pad.direction != Gst.PadDirection.SRC:
            return
        kind = pad.get_current_caps().get_structure(0).get_string("media")
        chain = (
            "rtph264depay ! avdec_h264 ! fakesink name=sink sync=false"
            if kind == "video"
            else "rtpopusdepay ! opusdec ! fakesink name=sink sync=false"
        )
        part = Gst.parse_bin_from_description(f"queue ! {chain}", True)
        part.get_by_name("sink").get_static_pad("sink").add_probe(
            Gst.PadProbeType.BUFFER, lambda *_: self.counted(kind)
        )
        self.pipeline.add(part)
        part.sync_state_with_parent()
        pad.link(part.get_static_pad("sink"))

    def counted(self, kind: str) -> Any:
        """One more decoded."""
        self.buffers[kind] += 1
        self.first_s.setdefault(kind, round(time.monotonic() - self.begun, 2))
        return Gst.PadProbeReturn.OK

    def connect(self, url: str) -> None:
        """Offer, with all candidates, and take the answer."""
        self.pipeline.set_state(Gst.State.PLAYING)
        time.sleep(1.0)
        made = Gst.Promise.new()
        self.peer.emit("create-offer", None, made)
        made.wait()
        reply = made.get_reply()
        self.described("set-local-description", reply.get_value("offer"))
        gathered = threading.Event()
        complete = GstWebRTC.WebRTCICEGatheringState.COMPLETE
        deadline = time.monotonic() + 10
        while self.peer.get_property("ice-gathering-state") != complete and time.monotonic() < deadline:
            gathered.wait(0.05)
        described = self.peer.get_property("local-description")
        if described is None:
            raise RuntimeError("webrtcbin: made no offer; its own log (GST_DEBUG=webrtcbin:5) says why")
        offer = described.sdp.as_text()
        request = urllib.request.Request(url, offer.encode(), {"Content-Type": "application/sdp"}, method="POST")
        with urllib.request.urlopen(request, timeout=20) as answer:
            text = answer.read()
        _, sdp = GstSdp.SDPMessage.new()
        GstSdp.sdp_message_parse_buffer(text, sdp)
        answered = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, sdp)
        self.described("set-remote-description", answered)

    def described(self, what: str, description: Any) -> None:
        """Set one of the descriptions."""
        done = Gst.Promise.new()
        self.peer.emit(what, description, done)
        done.wait()

    def report(self) -> dict[str, Any]:
        """What happened."""
        state = self.peer.get_property("connection-state").value_nick
        return {"role": self.role, "state": state, "decoded": self.buffers, "first_s": self.first_s}


def main() -> int:
    """Connect, stay for some seconds, report."""
    role, url, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    Gst.init(None)
    peer = Peer(role)
    peer.connect(url)
    time.sleep(seconds)
    sys.stdout.write(json.dumps({**peer.report(), "gstreamer": Gst.version_string()}) + "\n")
    sys.stdout.flush()
    peer.pipeline.set_state(Gst.State.NULL)
    return 0


if __name__ == "__main__":
    sys.exit(main())
