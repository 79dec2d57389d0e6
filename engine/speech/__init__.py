"""From speech to the mouth: features, voice activity and the audio-to-landmark network.

::

    model = load_speech_model()
    with model.stream() as stream:
        stream.set_emotion("happy", 0.5)           # at any time; blends in; "auto": told from the voice
        stream.push(samples)                       # 16 kHz mono float32, any number of samples
        frame = stream.at(stream.ready_until_s)    # displacement [68, 3] from the rest face, head frame
"""

from engine.speech.activity import ActivityConfig
from engine.speech.emotions import AUTO, BLEND_S, CHOICES, EMOTIONS, check_choice, emotion_shares
from engine.speech.model import LOOK_AHEADS_MS, SpeechModel, SpeechStream, load_speech_model
from engine.speech.track import MouthTrack, SpeechFrame

__all__ = [
    "AUTO",
    "BLEND_S",
    "CHOICES",
    "EMOTIONS",
    "LOOK_AHEADS_MS",
    "ActivityConfig",
    "MouthTrack",
    "SpeechFrame",
    "SpeechModel",
    "SpeechStream",
    "check_choice",
    "emotion_shares",
    "load_speech_model",
]
