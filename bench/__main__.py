"""`python -m bench NAME ...`: runs one benchmark."""

import importlib
import sys
from typing import Final

from engine.errors import LivedubError
from kernels.memory import keep_large_blocks

BENCHMARKS: Final = {
    "quality": "dubs clips with speech and measures every figure of a run",
    "ablation": "the same dubs without one term of the objective each, and what effort costs",
    "report": "writes the table of measured quality again",
    "judge": "measures the judge itself: its noise, and that it sees known edits",
    "live": "live sessions at a WebRTC receiver: delay, sync, rates",
    "region": "region render against the full picture: equality and time",
    "dub": "dubs the presenter: pictures a second, compiled or not, overlapping or not",
    "step": "one render and one optimisation step: backends against the plain reference",
    "engines": "builds TensorRT engines of render and step: size, time, what they compute, what bounds them",
    "speech": "measures the opening predicted from sound against real lips",
    "tracking": "measures the tracker: cost of its stages, steadiness and lag, distance from dlib's points",
    "alignment": "places mouths on real faces: geometry against the network",
}
"""Name (also of the module) -> what it does. Each module has `main(arguments) -> exit status`."""


def main(arguments: list[str]) -> int:
    """Runs the benchmark that the first argument names with the others; returns its exit status."""
    name, *others = arguments or [""]
    if name not in BENCHMARKS:
        lines = [f"  {known:<9} {what}" for known, what in BENCHMARKS.items()]
        out = sys.stdout if name in ("-h", "--help") else sys.stderr
        out.write("\n".join(["usage: python -m bench NAME [options]", *lines]) + "\n")
        return 0 if out is sys.stdout else 2
    try:
        status: int = importlib.import_module(f"bench.{name}").main(others)
    except LivedubError as error:
        sys.stderr.write(f"bench {name}: {error}\n")
        return error.exit_code
    return status


if __name__ == "__main__":
    keep_large_blocks()
    sys.exit(main(sys.argv[1:]))
