"""Finding and following a face: detector, 468-point mesh, 68 landmarks, head pose, FFHQ crop."""

from engine.tracking.alignment import crop_from_rgb, ffhq_quad, quad_transform, transform_points, warp
from engine.tracking.backends import FanTracker, Tracker, TrackerKind, create_tracker
from engine.tracking.detector import Detection, FaceDetector
from engine.tracking.landmarks import mesh_to_68
from engine.tracking.mesh import MESH_POINTS, MESH_SIZE, MeshNet
from engine.tracking.pose import HeadPose, from_head, head_pose, to_head
from engine.tracking.tracker import FaceTracker, Reason, TrackedFace, TrackResult

__all__ = [
    "MESH_POINTS",
    "MESH_SIZE",
    "Detection",
    "FaceDetector",
    "FaceTracker",
    "FanTracker",
    "HeadPose",
    "MeshNet",
    "Reason",
    "TrackResult",
    "TrackedFace",
    "Tracker",
    "TrackerKind",
    "create_tracker",
    "crop_from_rgb",
    "ffhq_quad",
    "from_head",
    "head_pose",
    "mesh_to_68",
    "quad_transform",
    "to_head",
    "transform_points",
    "warp",
]
