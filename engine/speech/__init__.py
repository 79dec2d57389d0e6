"""From speech to the mouth: features, voice activity and the audio-to-landmark network.

model = load_speech_model()
with model.stream() as stream:
stream.set_emotion("happy", 0.5)           # at any time; blends in
stream.push(samples)                       # 16 kHz mono float32, any number of samples
frame = stream.at(stream.ready_until_s)    # displacement [68, 3] from the rest face, head frame
"""

from engine.speech.activity import ActivityConfig
from engine.speech.emotions import BLEND_S, EMOTIONS, emotion_shares
from engine.speech.model import SpeechModel, SpeechStream, load_speech_model
from engine.speech.track import MouthTrack, SpeechFrame

__all__ = [
    "BLEND_S",
    "EMOTIONS",
    "ActivityConfig",
    "MouthTrack",
    "SpeechFrame",
    "SpeechModel",
    "SpeechStream",
    "emotion_shares",
    "load_speech_model",
]
