"""Speaks the demo's new words: `python -m engine.training.presenter_speech speech.flac` (extra `train`)."""

import argparse
from pathlib import Path
from typing import Final

import av
import numpy as np
from numpy.typing import NDArray

from engine.errors import ShapeError
from engine.training.recordings import optional_module

TEXT: Final = "Live dubbing keeps the picture, and changes the words. This line was never filmed."
"""What the demo makes the presenter say; other words than its own track."""

SAMPLE_RATE: Final = 24_000
"""Rate of the synthesiser, Hz."""

_LEAD_S, _TAIL_S = 0.25, 0.15


def speak(text: str = TEXT) -> NDArray[np.float32]:
    """The text in the voice of `hibari-tts` with a moment of silence around it: [N] float32 at 24 kHz."""
    voice = optional_module("hibari", "hibari-tts").Hibari()
    samples = np.asarray(voice(text, seed=0), np.float32)
    return np.pad(samples, (round(_LEAD_S * SAMPLE_RATE), round(_TAIL_S * SAMPLE_RATE)))


def write_flac(path: Path, samples: NDArray[np.float32], sample_rate: int = SAMPLE_RATE) -> None:
    """Writes 16-bit mono FLAC whose metadata say that it is synthetic. samples: [N] in [-1, 1].

    Raises:
        ShapeError: samples are not one channel.
    """
    if samples.ndim != 1:
        raise ShapeError(f"samples are {samples.shape}; expected [N] mono")
    whole = (np.clip(samples, -1.0, 1.0) * 32767).round().astype(np.int16)
    with av.open(str(path), "w", format="flac") as container:
        container.metadata.update({"comment": "Synthetic speech (hibari-tts); no person said this."})
        stream = container.add_stream("flac", rate=sample_rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(whole[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts = sample_rate, 0
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="engine.training.presenter_speech", description="Speak the demo's new words.")
    parser.add_argument("out", type=Path, help="FLAC to write")
    write_flac(parser.parse_args(arguments).out, speak())


if __name__ == "__main__":
    main()
