"""KIT-ML by a path of its own: people of 21 joints that move, and their 251 features out of the published formulas, in float64.

Joints, chains and thresholds are typed here again, from the public pipeline, and nothing of the project is asked.
"""

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from tests.figures import kit_stander

RIGHT_HIP, LEFT_HIP, RIGHT_SHOULDER, LEFT_SHOULDER = 11, 16, 5, 8
FEET = (19, 20, 14, 15)
CHAINS = ((0, 11, 12, 13, 14, 15), (0, 16, 17, 18, 19, 20), (0, 1, 2, 3, 4), (3, 5, 6, 7), (3, 8, 9, 10))
PARENT = {child: parent for chain in CHAINS for parent, child in zip(chain, chain[1:])}
UP, DOWN, ALONG, BACK, AHEAD = (0, 1, 0), (0, -1, 0), (1, 0, 0), (-1, 0, 0), (0, 0, 1)
REST = [None, UP, UP, UP, UP, ALONG, DOWN, DOWN, BACK, DOWN, DOWN, ALONG, DOWN, DOWN, AHEAD, AHEAD, BACK, DOWN, DOWN, AHEAD, AHEAD]


def kit_walker(frames: int = 60, turn: float = 0.0) -> np.ndarray:
    """A person who stands for a sixth of the time, then swings arms and legs, walks 60 units a frame and turns by `turn` radians in
    all, float32 [frames, 21, 3]."""
    time = np.maximum(np.linspace(-0.2, 1, frames), 0)
    joints, phase = kit_stander(frames).astype(np.float64), 6 * np.pi * time
    swings = {20: [11], 60: [12], 120: [13, 14, 15], -20: [16], -61: [17], -120: [18, 19, 20], -50: [6], -90: [7], 50: [9]}
    for swing, limbs in swings.items():
        joints[:, limbs, 2] += swing * np.sin(phase)[:, None]
    joints[:, [14, 15], 1] += 20 * (1 + np.sin(phase))[:, None]
    path = np.zeros(3)
    for frame, share in enumerate(time):
        facing = Rotation.from_rotvec([0, turn * share, 0])
        joints[frame] = facing.apply(joints[frame]) + path
        path = path + facing.apply([0, 0, 60 * (share > 0)])
    return joints.astype(np.float32)


def kit_features(joints: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Features [T-1, 251] of joints [T, 21, 3], and the joints on the floor, at the origin and facing +z, which they are of."""
    joints = joints.astype(np.float64) - [0, joints[..., 1].min(), 0]
    joints = joints - joints[0, 0] * [1, 0, 1]
    facing = np.cross(UP, joints[0, RIGHT_HIP] - joints[0, LEFT_HIP] + joints[0, RIGHT_SHOULDER] - joints[0, LEFT_SHOULDER])
    joints = Rotation.from_rotvec([0, -np.arctan2(facing[0], facing[2]), 0]).apply(joints.reshape(-1, 3)).reshape(joints.shape)
    # The published inverse kinematics has the hips the other way round.
    across = joints[:, LEFT_HIP] - joints[:, RIGHT_HIP] + joints[:, RIGHT_SHOULDER] - joints[:, LEFT_SHOULDER]
    facing = gaussian_filter1d(np.cross(UP, across / np.linalg.norm(across, axis=1, keepdims=True)), 20, axis=0, mode="nearest")
    heading = np.arctan2(facing[:, 0], facing[:, 2])
    heading[0] = 0
    rows = []
    for t in range(len(joints) - 1):
        now, then = (Rotation.from_rotvec([0, -heading[frame], 0]) for frame in (t, t + 1))
        step = then.apply(joints[t + 1, 0] - joints[t, 0])
        places = now.apply(joints[t, 1:] - joints[t, 0] * [1, 0, 1])
        turns = {0: now.as_matrix()}
        for joint in range(1, 21):
            bone = joints[t, joint] - joints[t, PARENT[joint]]
            axis, cosine = np.cross(REST[joint], bone), np.dot(REST[joint], bone)
            sine = np.linalg.norm(axis)
            turns[joint] = Rotation.from_rotvec(axis / max(sine, 1e-12) * np.arctan2(sine, cosine)).as_matrix()
        before = {**PARENT, 5: 0, 8: 0}  # the chains of the arms restart from the root
        own = [turns[before[joint]].T @ turns[joint] for joint in range(1, 21)]
        moves = now.apply(joints[t + 1] - joints[t])
        contacts = [float(((joints[t + 1, joint] - joints[t, joint]) ** 2).sum() < 0.05) for joint in FEET]
        half_turn = -(heading[t + 1] - heading[t]) / 2
        parts = [[half_turn, step[0], step[2], joints[t, 0, 1]], places, [turn[:, :2].T for turn in own], moves, contacts]
        rows.append(np.concatenate([np.ravel(part) for part in parts]))
    return np.array(rows), joints
