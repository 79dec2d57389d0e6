"""How good a dub is: figures, the judges that read them, and the report of a run."""

from engine.evaluation.collector import Collector, EditedFrameLike
from engine.evaluation.figures import NotMeasured
from engine.evaluation.frames import MeasuredFrame
from engine.evaluation.judges import JUDGES, DlibJudge, Judge, NetJudge, best_judge, witness_for
from engine.evaluation.machine import code_digest, describe_machine, peak_memory_mb, versions
from engine.evaluation.report import FIGURES, GOALS, Report, goal_text, reached
from engine.evaluation.strips import StripMaker, draw_strip, png

__all__ = [
    "FIGURES",
    "GOALS",
    "JUDGES",
    "Collector",
    "DlibJudge",
    "EditedFrameLike",
    "Judge",
    "MeasuredFrame",
    "NetJudge",
    "NotMeasured",
    "Report",
    "StripMaker",
    "best_judge",
    "code_digest",
    "describe_machine",
    "draw_strip",
    "goal_text",
    "peak_memory_mb",
    "png",
    "reached",
    "versions",
    "witness_for",
]
