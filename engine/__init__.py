"""livedub's engine: everything that knows faces, speech and editing; synchronous, without clock or sockets.

A host program with its own transport needs nothing else::

    profile = enroll(frames)
    dubber = Dubber(profile, DubConfig(effort=1))
    dubber.push_audio(chunk)
    dubber.push_video(frame)
    for edited in dubber.ready():
        show(edited.frame)
"""

from engine.dubber import Dubber, DubConfig, EditedFrame, ReadySpeaker, enroll
from engine.editing.profile import SpeakerProfile
from engine.errors import (
    BackendError,
    BadInputError,
    LivedubError,
    MediaError,
    NoFaceError,
    ProfileError,
    ShapeError,
    WeightsError,
    WeightsFormatError,
)
from engine.media import AudioChunk, VideoFrame

__all__ = [
    "AudioChunk",
    "BackendError",
    "BadInputError",
    "DubConfig",
    "Dubber",
    "EditedFrame",
    "LivedubError",
    "MediaError",
    "NoFaceError",
    "ProfileError",
    "ReadySpeaker",
    "ShapeError",
    "SpeakerProfile",
    "VideoFrame",
    "WeightsError",
    "WeightsFormatError",
    "enroll",
]
