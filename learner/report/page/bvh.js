"use strict";
// A motion as BVH, in the browser: the same skeleton and angles as rollout/motion/bvh.py, where it is explained.

const BVH_ROUNDS = 5,
  BVH_END = 0.4,
  DEGREES = 180 / Math.PI;
const minus = (a, b) => [a[0] - b[0], a[1] - b[1], a[2] - b[2]],
  plus = (a, b) => [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2],
  long = (a) => Math.hypot(...a),
  times = (a, s) => a.map((v) => v * s);
const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
const apply = (m, v) => m.map((row) => dot(row, v)),
  transposed = (m) => [0, 1, 2].map((i) => m.map((row) => row[i]));
const product = (a, b) => a.map((row) => [0, 1, 2].map((j) => row[0] * b[0][j] + row[1] * b[1][j] + row[2] * b[2][j]));
const IDENTITY = [
  [1, 0, 0],
  [0, 1, 0],
  [0, 0, 1],
];

function bvh(motion, { names, parents, chains, fps }) {
  const joints = [...Array(motion.frames).keys()].map((t) =>
    names.map((_, j) => Array.from(motion.joints.subarray((t * names.length + j) * 3, (t * names.length + j) * 3 + 3))),
  );
  const { offsets, rotations } = fitted(joints, parents, chains),
    order = [],
    lines = ["HIERARCHY"];
  hierarchy(names, parents, offsets, 0, "", order, lines);
  lines.push("MOTION", `Frames: ${joints.length}`, `Frame Time: ${(1 / fps).toFixed(6)}`);
  let last = null;
  joints.forEach((frame, t) => {
    const now = rotations[t].map((own, j) => eulerOf(j ? product(transposed(rotations[t][parents[j]]), own) : own));
    last = last ? now.map((angles, j) => nearest(angles, last[j])) : now;
    lines.push([...frame[0], ...order.flatMap((j) => last[j])].map((value) => value.toFixed(6)).join(" "));
  });
  return lines.join("\n") + "\n";
}

function fitted(joints, parents, chains) {
  const children = parents.map((_, j) => parents.flatMap((parent, child) => (parent === j ? [child] : [])));
  const length = parents.map((parent, j) =>
    parent < 0 ? 0 : joints.reduce((sum, frame) => sum + long(minus(frame[j], frame[parent])), 0) / joints.length,
  );
  const offsets = restDirections(parents.length, chains).map((way, j) => times(way, length[j]));
  const points = joints.map((frame) => frame.map((point) => [...point])),
    rotations = joints.map(() => parents.map(() => IDENTITY));
  for (let joint = 0; joint < parents.length; joint++) {
    const below = children[joint];
    if (below.length > 1) {
      let shape = below.map((child) => offsets[child]);
      const bones = joints.map((frame) => below.map((child) => minus(frame[child], frame[joint])));
      for (let round = 0; round < BVH_ROUNDS; round++) {
        const turned = bones.map((each) => {
          const back = transposed(rigid(shape, each));
          return each.map((bone) => apply(back, bone));
        });
        shape = below.map((_, k) =>
          times(
            turned.reduce((sum, each) => plus(sum, each[k]), [0, 0, 0]),
            1 / joints.length,
          ),
        );
      }
      below.forEach((child, k) => {
        offsets[child] = times(shape[k], length[child] / Math.max(long(shape[k]), 1e-9));
      });
    }
    joints.forEach((frame, t) => {
      let turn = joint ? rotations[t][parents[joint]] : IDENTITY;
      const bones = below.map((child) => minus(frame[child], points[t][joint]));
      if (below.length === 1) turn = product(shortest(apply(turn, offsets[below[0]]), bones[0]), turn);
      else if (below.length)
        turn = rigid(
          below.map((child) => offsets[child]),
          bones,
        );
      rotations[t][joint] = turn;
      for (const child of below) points[t][child] = plus(points[t][joint], apply(turn, offsets[child]));
    });
  }
  return { offsets, rotations };
}

function restDirections(count, [rightLeg, leftLeg, spine, rightArm, leftArm]) {
  const ways = Array.from({ length: count }, () => [0, 0, 0]);
  for (const joint of spine.slice(1)) ways[joint] = [0, 1, 0];
  for (const [leg, arm, side] of [
    [rightLeg, rightArm, -1],
    [leftLeg, leftArm, 1],
  ]) {
    for (const joint of [leg[1], ...arm.slice(1)]) ways[joint] = [side, 0, 0];
    for (const joint of leg.slice(2, 4)) ways[joint] = [0, -1, 0];
    for (const joint of leg.slice(4)) ways[joint] = [0, 0, 1];
  }
  return ways;
}

function shortest(source, target) {
  let axis = cross(source, target);
  const sine = long(axis),
    cosine = dot(source, target);
  if (sine <= 1e-9 * -cosine && cosine < 0) {
    const least = source.map(Math.abs).indexOf(Math.min(...source.map(Math.abs)));
    axis = cross(source, IDENTITY[least]);
  }
  return turned(times(axis, 1 / Math.max(long(axis), 1e-12)), Math.atan2(sine, cosine));
}

function turned([x, y, z], angle) {
  const s = Math.sin(angle / 2);
  return matrixOf([Math.cos(angle / 2), x * s, y * s, z * s]);
}

// The rotation that takes the bones `shape` closest to `bones`: the largest eigenvector of Horn's matrix (1987), by squaring it.
function rigid(shape, bones) {
  const s = [0, 1, 2].map((i) => [0, 1, 2].map((j) => shape.reduce((sum, from, k) => sum + from[i] * bones[k][j], 0)));
  let m = [
    [s[0][0] + s[1][1] + s[2][2], s[1][2] - s[2][1], s[2][0] - s[0][2], s[0][1] - s[1][0]],
    [s[1][2] - s[2][1], s[0][0] - s[1][1] - s[2][2], s[0][1] + s[1][0], s[2][0] + s[0][2]],
    [s[2][0] - s[0][2], s[0][1] + s[1][0], s[1][1] - s[0][0] - s[2][2], s[1][2] + s[2][1]],
    [s[0][1] - s[1][0], s[2][0] + s[0][2], s[1][2] + s[2][1], s[2][2] - s[0][0] - s[1][1]],
  ];
  const size = (rows) => Math.hypot(...rows.flat()) || 1,
    shift = size(m);
  m = m.map((row, i) => row.map((value, j) => value + (i === j ? shift : 0)));
  for (let round = 0; round < 24; round++) {
    const by = 1 / size(m),
      unit = m.map((row) => row.map((value) => value * by));
    m = unit.map((row) => [0, 1, 2, 3].map((j) => row.reduce((sum, value, k) => sum + value * unit[k][j], 0)));
  }
  const best = m.reduce((a, b) => (Math.hypot(...a) >= Math.hypot(...b) ? a : b));
  return matrixOf(best.map((value) => value / (Math.hypot(...best) || 1)));
}

function matrixOf([w, x, y, z]) {
  return [
    [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
    [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
    [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
  ];
}

function eulerOf(m) {
  return [Math.atan2(-m[0][1], m[1][1]), Math.asin(Math.max(-1, Math.min(1, m[2][1]))), Math.atan2(-m[2][0], m[2][2])].map(
    (angle) => angle * DEGREES,
  );
}

function nearest(now, last) {
  const same = [now, [now[0] + 180, 180 - now[1], now[2] + 180]].map((angles) =>
    angles.map((angle, i) => angle + 360 * Math.round((last[i] - angle) / 360)),
  );
  const far = same.map((angles) => angles.reduce((sum, angle, i) => sum + Math.abs(angle - last[i]), 0));
  return same[far[0] <= far[1] ? 0 : 1];
}

function hierarchy(names, parents, offsets, joint, indent, order, lines) {
  order.push(joint);
  const inside = `${indent}  `,
    text = (vector) => vector.map((value) => value.toFixed(6)).join(" ");
  lines.push(`${indent}${joint ? "JOINT" : "ROOT"} ${names[joint]}`, `${indent}{`, `${inside}OFFSET ${text(offsets[joint])}`);
  lines.push(`${inside}CHANNELS ${joint ? "3" : "6 Xposition Yposition Zposition"} Zrotation Xrotation Yrotation`);
  const below = parents.flatMap((parent, child) => (parent === joint ? [child] : []));
  for (const child of below) hierarchy(names, parents, offsets, child, inside, order, lines);
  if (!below.length)
    lines.push(`${inside}End Site`, `${inside}{`, `${inside}  OFFSET ${text(times(offsets[joint], BVH_END))}`, `${inside}}`);
  lines.push(`${indent}}`);
}
