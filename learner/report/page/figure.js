"use strict";
// One person on a floor, drawn into a canvas: metres, y up. Left limbs are blue, right limbs are red, the path is amber.

const DISTANCE = 6,
  GRID = 0.5,
  STANDING = { toe: 0.05, ankle: 0.08 },
  SLIDES = 0.2; // m, m, m; m/s
const RADII = [0.045, 0.045, 0.05, 0.038, 0.038]; // m, of the chains: legs, spine, arms

// What does not change from frame to frame: where the floor is seen, and when each foot stands and how fast it slides.
function staged(motion, { fps, names, feet }) {
  const at = (frame, joint) => motion.joints.subarray((frame * names.length + joint) * 3, (frame * names.length + joint) * 3 + 3);
  const xs = [],
    zs = [];
  for (let frame = 0; frame < motion.frames; frame++) {
    xs.push(at(frame, 0)[0]);
    zs.push(at(frame, 0)[2]);
  }
  const low = [Math.min(...xs), Math.min(...zs)],
    high = [Math.max(...xs), Math.max(...zs)];
  const stands = feet.map(([ankle, toe]) =>
    xs.map((_, frame) => {
      if (!frame) return null;
      const down = [frame - 1, frame].every((f) => at(f, toe)[1] < STANDING.toe && at(f, ankle)[1] < STANDING.ankle);
      return down ? Math.hypot(at(frame, toe)[0] - at(frame - 1, toe)[0], at(frame, toe)[2] - at(frame - 1, toe)[2]) * fps : null;
    }),
  );
  for (const foot of stands) foot[0] = foot[1] ?? null;
  return { ...motion, at, low, high, stands, reach: Math.max(high[0] - low[0], high[1] - low[1]) };
}

function sees(camera, size, centre, span) {
  const [sa, ca, se, ce] = [Math.sin(camera.azimuth), Math.cos(camera.azimuth), Math.sin(camera.elevation), Math.cos(camera.elevation)];
  const scale = (Math.min(size.width, size.height) / span) * camera.zoom,
    middle = [size.width / 2, size.height * 0.48];
  return (x, y, z) => {
    const [dx, dy, dz] = [x - centre[0], y - centre[1], z - centre[2]];
    const depth = Math.max(DISTANCE - (dx * sa * ce + dy * se + dz * ca * ce), 0.1),
      by = (scale * DISTANCE) / depth;
    return { x: middle[0] + (dx * ca - dz * sa) * by, y: middle[1] - (dy * ce - (dx * sa + dz * ca) * se) * by, depth, by };
  };
}

function drawFigure(canvas, scene, time, camera, skeleton, span) {
  const ratio = Math.min(devicePixelRatio || 1, 2),
    size = { width: canvas.clientWidth, height: canvas.clientHeight };
  if (canvas.width !== Math.round(size.width * ratio)) canvas.width = Math.round(size.width * ratio);
  if (canvas.height !== Math.round(size.height * ratio)) canvas.height = Math.round(size.height * ratio);
  const pen = canvas.getContext("2d"),
    paint = Object.fromEntries(
      ["floor", "grid", "shadow", "left", "right", "trail", "trunk", "torso", "card", "stands", "slides"].map((name) => [
        name,
        colour(name),
      ]),
    );
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, size.width, size.height);
  pen.lineCap = pen.lineJoin = "round";
  const frame = Math.min(Math.floor(time), scene.frames - 1),
    part = Math.min(time, scene.frames - 1) - frame,
    next = Math.min(frame + 1, scene.frames - 1);
  const joint = (j) => {
    const [a, b] = [scene.at(frame, j), scene.at(next, j)];
    return [0, 1, 2].map((i) => a[i] + (b[i] - a[i]) * part);
  };
  const middle = [(scene.low[0] + scene.high[0]) / 2, (scene.low[1] + scene.high[1]) / 2],
    root = joint(0);
  const ground = camera.follow ? smoothed(scene, time) : middle;
  const see = sees(camera, size, [ground[0], 0.85, ground[1]], span),
    path = (points) => {
      pen.beginPath();
      for (const p of points) pen.lineTo(p.x, p.y);
    };

  const edge = 0.9,
    [x0, z0, x1, z1] = [scene.low[0] - edge, scene.low[1] - edge, scene.high[0] + edge, scene.high[1] + edge];
  path(
    [
      [x0, z0],
      [x0, z1],
      [x1, z1],
      [x1, z0],
    ].map(([x, z]) => see(x, 0, z)),
  );
  pen.fillStyle = paint.floor;
  pen.fill();
  pen.strokeStyle = paint.grid;
  pen.lineWidth = 1;
  for (let x = Math.ceil(x0 / GRID) * GRID; x <= x1; x += GRID) {
    path([see(x, 0, z0), see(x, 0, z1)]);
    pen.stroke();
  }
  for (let z = Math.ceil(z0 / GRID) * GRID; z <= z1; z += GRID) {
    path([see(x0, 0, z), see(x1, 0, z)]);
    pen.stroke();
  }

  pen.strokeStyle = paint.trail;
  pen.lineWidth = 2;
  const way = [...Array(scene.frames).keys()].map((f) => see(scene.at(f, 0)[0], 0, scene.at(f, 0)[2]));
  pen.globalAlpha = 0.3;
  path(way);
  pen.stroke();
  pen.globalAlpha = 1;
  path(way.slice(0, frame + 1).concat(see(root[0], 0, root[2])));
  pen.stroke();
  skeleton.feet.forEach(([, toe], foot) => {
    for (let f = 0; f <= frame; f++) {
      const speed = scene.stands[foot][f];
      if (speed !== null) {
        const p = see(scene.at(f, toe)[0], 0, scene.at(f, toe)[2]);
        disc(pen, p, Math.max(1.2, 0.018 * p.by), speed > SLIDES ? paint.slides : paint.stands);
      }
    }
  });

  const chains = skeleton.chains,
    points = skeleton.names.map((_, j) => joint(j)),
    seen = points.map((p) => see(...p));
  chains.forEach((chain, i) =>
    limb(
      pen,
      chain.map((j) => see(points[j][0], 0, points[j][2])),
      RADII[i],
      paint.shadow,
    ),
  );
  const [rightLeg, leftLeg, spine, rightArm, leftArm] = chains,
    near = (chain) => chain.slice(2).reduce((sum, j) => sum + seen[j].depth, 0) / (chain.length - 2);
  const tones = [paint.right, paint.left, paint.trunk, paint.right, paint.left];
  const parts = chains.map((chain, i) => [
    near(chain),
    () => {
      limb(
        pen,
        chain.map((j) => seen[j]),
        RADII[i],
        paint.card,
        1.6,
      );
      limb(
        pen,
        chain.map((j) => seen[j]),
        RADII[i],
        tones[i],
      );
    },
  ]);
  const torso = [leftArm.at(-3), rightArm.at(-3), rightLeg[1], leftLeg[1]];
  parts.push([
    torso.reduce((sum, j) => sum + seen[j].depth, 0) / 4 + 0.05,
    () => {
      path(torso.map((j) => seen[j]));
      pen.closePath();
      pen.fillStyle = paint.torso;
      pen.fill();
    },
  ]);
  const [neck, head] = spine.slice(-2).map((j) => points[j]),
    crown = plus(head, times(minus(head, neck), 0.3));
  const facing = cross([0, 1, 0], minus(points[rightArm.at(-3)], points[leftArm.at(-3)])),
    nose = plus(crown, times(facing, 0.125 / Math.max(long(facing), 1e-6)));
  for (const [point, radius, tone] of [
    [crown, 0.115, paint.trunk],
    [nose, 0.04, paint.trail],
  ]) {
    const p = see(...point);
    parts.push([p.depth, () => disc(pen, p, radius * p.by, tone)]);
  }
  skeleton.feet.forEach(([, toe], foot) => {
    const speed = scene.stands[foot][frame];
    if (speed !== null)
      parts.push([seen[toe].depth - 0.2, () => disc(pen, seen[toe], 0.055 * seen[toe].by, speed > SLIDES ? paint.slides : paint.stands)]);
  });
  for (const [, draw] of parts.sort((a, b) => b[0] - a[0])) draw();
}

function limb(pen, points, radius, tone, more = 0) {
  pen.strokeStyle = tone;
  pen.lineWidth = Math.max(1, 2 * radius * points[0].by + 2 * more);
  pen.beginPath();
  for (const p of points) pen.lineTo(p.x, p.y);
  pen.stroke();
}

function disc(pen, p, radius, tone) {
  pen.fillStyle = tone;
  pen.beginPath();
  pen.arc(p.x, p.y, radius, 0, 2 * Math.PI);
  pen.fill();
}

// Where the body is, without the sway of its steps: the mean of three quarters of a second.
function smoothed(scene, time) {
  const from = Math.max(0, Math.round(time) - 7),
    to = Math.min(scene.frames - 1, Math.round(time) + 7);
  let [x, z] = [0, 0];
  for (let f = from; f <= to; f++) {
    x += scene.at(f, 0)[0];
    z += scene.at(f, 0)[2];
  }
  return [x / (to - from + 1), z / (to - from + 1)];
}
