"""Offers as OBS Studio sends them (libdatachannel): what is known of their form, put around a real connection's keys.

Their traits: user, fingerprint and role stand in the session's part and not in the media; no candidates and no end of
them; one payload type a medium; a group for lip sync; sound first; everything sendonly; a source line with a name.
"""

from aiortc.sdp import MediaDescription, SessionDescription

_OPUS = "minptime=10;maxaveragebitrate=96000;stereo=1;sprop-stereo=1;useinbandfec=1"
_FEEDBACK = ("nack", "nack pli", "goog-remb")


def obs_offer(sdp: str) -> str:
    """The offer of a connection that sends H.264 and Opus, in OBS's words."""
    media = {each.kind: each for each in SessionDescription.parse(sdp).media}
    sound, pictures = media["audio"], media["video"]
    h264 = next(codec for codec in pictures.rtp.codecs if codec.name == "H264")
    form = "profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1"
    assert sound.ice is not None
    assert sound.dtls is not None
    opus = str(sound.rtp.codecs[0].payloadType)
    lines = [
        "v=0", "o=rtc 2157404327 0 IN IP4 127.0.0.1", "s=-", "t=0 0",
        f"a=group:BUNDLE {sound.rtp.muxId} {pictures.rtp.muxId}", f"a=group:LS {sound.rtp.muxId} {pictures.rtp.muxId}",
        "a=msid-semantic:WMS *", "a=setup:actpass",
        f"a=ice-ufrag:{sound.ice.usernameFragment}", f"a=ice-pwd:{sound.ice.password}", "a=ice-options:ice2,trickle",
        *(f"a=fingerprint:{each.algorithm} {each.value}" for each in sound.dtls.fingerprints[:1]),
        *_medium(sound, opus, "opus/48000/2", _OPUS, ()),
        *_medium(pictures, str(h264.payloadType), "H264/90000", form, _FEEDBACK),
    ]  # fmt: skip
    return "\r\n".join([*lines, ""])


def _medium(medium: MediaDescription, payload: str, codec: str, form: str, feedback: tuple[str, ...]) -> list[str]:
    source = medium.ssrc[0].ssrc
    return [
        f"m={medium.kind} 9 UDP/TLS/RTP/SAVPF {payload}", "c=IN IP4 0.0.0.0", f"a=mid:{medium.rtp.muxId}",
        "a=sendonly", f"a=ssrc:{source} cname:xcRb4wLyAf3mdqmN",
        f"a=ssrc:{source} msid:obs-stream obs-{medium.kind}", "a=rtcp-mux", f"a=rtpmap:{payload} {codec}",
        *(f"a=rtcp-fb:{payload} {each}" for each in feedback), f"a=fmtp:{payload} {form}",
    ]  # fmt: skip
