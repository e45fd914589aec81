"use strict";
// What the model made, as the page has it: motions as joints, answers as text.

// {frames, joints: Float32Array [T * J * 3] in metres, y up}: see learner/report/motion.py for how it was packed.
async function motionOf(run, place) {
  const packed = await inflated(run.outputs[place], "deflate"),
    { step, names } = run.shown,
    tracks = names.length * 3;
  const frames = packed.length / 2 / tracks,
    joints = new Float32Array(frames * tracks);
  for (let track = 0; track < tracks; track++) {
    let sum = 0;
    for (let frame = 0; frame < frames; frame++) {
      const from = track * frames + frame,
        bits = packed[from] | (packed[from + frames * tracks] << 8);
      sum = ((sum + ((bits >> 1) ^ -(bits & 1))) << 16) >> 16;
      joints[frame * tracks + track] = sum * step;
    }
  }
  for (let frame = 0; frame < frames; frame++) {
    for (let track = 3; track < tracks; track++) joints[frame * tracks + track] += joints[frame * tracks + (track % 3)];
  }
  return { frames, joints };
}

async function answerOf(run, place) {
  return new TextDecoder().decode(await inflated(run.outputs[place], "deflate"));
}

// An answer with its tagged parts in colours of their own.
function answer(text, tags) {
  const box = make("pre", { class: "answer" });
  let within = null;
  for (const piece of text.split(/(<\/?\w+>)/)) {
    const tag = /^<(\/?)(\w+)>$/.exec(piece),
      known = tag && tags.includes(tag[2]);
    if (known && !tag[1]) within = tag[2];
    if (piece) box.append(make("span", { class: within ? `tag-${within}${known ? " tag" : ""}` : null }, piece));
    if (known && tag[1]) within = null;
  }
  return box;
}

// The image that was asked about, left half of the picture, and where an answer points in it.
function pointed(picture, text, scale) {
  let points = [];
  try {
    points = JSON.parse(/<answer>([^]*)<\/answer>/.exec(text)[1]).negative_points.map(([x, y]) => [x / scale, y / scale]);
  } catch {
    return null; // no points, or none that can be read
  }
  const within = points.filter((point) => point.every((share) => share >= 0 && share <= 1));
  const dots = within.map(([x, y]) => make("i", { style: `left:${x * 100}%;top:${y * 100}%` }));
  const image = make("img", { src: picture, alt: "" });
  const box = make("div", { class: "pointed", role: "img", "aria-label": `${plural(within.length, "point")} of the answer` }, image, dots);
  image.addEventListener("load", () => box.style.setProperty("aspect-ratio", `${image.naturalWidth / 2} / ${image.naturalHeight}`));
  return box;
}

// A NumPy file of float32 [T, J, 3].
function npy({ frames, joints }, count) {
  const text = `{'descr': '<f4', 'fortran_order': False, 'shape': (${frames}, ${count}, 3), }`;
  const padded = text + " ".repeat(63 - ((10 + text.length) % 64)) + "\n",
    head = new Uint8Array(10 + padded.length);
  head.set([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, padded.length & 255, padded.length >> 8]);
  head.set(new TextEncoder().encode(padded), 10);
  return [head, new Uint8Array(new Float32Array(joints).buffer)];
}
