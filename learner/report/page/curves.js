"use strict";
// Every metric of every iteration, with what it means.

const RUNNING = 10; // iterations
const PARTS = ["Reward", "Held-out prompts", "Physics, held out", "Answers", "Policy and update", "Time", "Other"];
const OPEN = new Set(PARTS.slice(0, 4));

function curvesSection(run) {
  const names = Object.keys(run.metrics).filter((name) => run.metrics[name].values.some((value) => value != null));
  if (!names.length) return section("curves", "Curves", card(empty("No iteration is done yet.")));
  const parts = PARTS.map((part) => [part, names.filter((name) => run.metrics[name].part === part)]).filter(([, of]) => of.length);
  const csv = () =>
    download(
      `${run.name}-metrics.csv`,
      [
        [
          ["iteration", ...names],
          ...run.iterations.map((iteration, i) => [iteration, ...names.map((name) => run.metrics[name].values[i] ?? "")]),
        ]
          .map((row) => row.join(","))
          .join("\n") + "\n",
      ],
      "text/csv",
    );
  return section(
    "curves",
    "Curves",
    about(
      "By iteration, the first and the last value beside the name. Dots are evaluations, after so many iterations.",
      run.iterations.length > 2 * RUNNING && `A thick line is the mean of the last ${RUNNING}.`,
    ),
    scatter(run),
    ...parts.map(([part, of]) =>
      make(
        "details",
        { class: "card part", open: OPEN.has(part) },
        make("summary", {}, make("h3", {}, part), make("span", { class: "count" }, plural(of.length, "metric"))),
        make(
          "div",
          { class: "curves" },
          of.filter((name) => !always0(run, name)).map((name) => curve(run, name)),
        ),
        zeros(
          run,
          of.filter((name) => always0(run, name)),
        ),
      ),
    ),
    make("p", {}, make("button", { type: "button", onclick: csv }, "Download every metric as .csv")),
  );
}

// A metric's values where it has any, with the base model's before the first iteration.
function points(run, name) {
  const known = run.iterations.map((iteration, i) => [iteration, run.metrics[name].values[i]]).filter(([, value]) => value != null);
  return run.before[name] != null && known.length ? [[0, run.before[name]], ...known] : known;
}

function always0(run, name) {
  return run.metrics[name].values.every((value) => value === 0 || value == null);
}

function titleOf(name) {
  return name.replace(/^(heldout|seconds)_/, "").replaceAll("_", " ");
}

function zeros(run, names) {
  return names.length
    ? make(
        "div",
        { class: "always" },
        make("p", {}, "0 in every iteration:"),
        make(
          "dl",
          { class: "pairs" },
          names.map((name) => [make("dt", {}, titleOf(name)), make("dd", {}, run.metrics[name].sentence)]),
        ),
      )
    : null;
}

function curve(run, name) {
  const { sentence, unit, part } = run.metrics[name],
    known = points(run, name),
    real = run.shown?.real?.[name.replace("heldout_", "")];
  const [first, last] = [known[0][1], known.at(-1)[1]],
    title = titleOf(name);
  const unmeasured = part.startsWith("Physics") && run.shown?.format && ` No real motion of ${run.shown.format} was measured to compare with.`;
  const beside = real ? " Shaded: where 90 % of real motion lies; dashed: its mean." : unmeasured || "";
  const held = name.startsWith("heldout_"),
    flat = known.every(([, value]) => value === first);
  return make(
    "figure",
    { class: "curve" },
    make(
      "figcaption",
      {},
      make("strong", {}, title, unit ? make("span", { class: "unit" }, ` ${unit}`) : null),
      make("span", { class: "now" }, flat ? `always ${number(first)}` : `${number(first, 3)} → ${number(last, 3)}`),
      make("span", { class: "about" }, sentence, beside),
    ),
    chart({
      label: `${title} from ${number(first)} to ${number(last)} over ${plural(known.length, "value")}`,
      height: 130,
      x: "iteration",
      quiet: true,
      series: held || known.length <= 2 * RUNNING ? [series(known, { colour: "accent", points: held })] : calmed(known),
      bands: real ? [{ low: real.low, high: real.high, colour: "good" }] : [],
      spans: real ? [{ at: real.mean, colour: "good" }] : [],
    }),
  );
}

function series(known, look) {
  return { x: known.map(([x]) => x), y: known.map(([, y]) => y), ...look };
}

// A noisy curve, and each value's mean with the ones before it, so that the line never knows the future.
function calmed(known) {
  const running = known.map(([x], i) => [x, mean(known.slice(Math.max(0, i + 1 - RUNNING), i + 1).map(([, y]) => y))]);
  return [
    series(known, { colour: "faint", width: 1 }),
    series(running, { name: `mean of the last ${RUNNING}`, colour: "accent", width: 2.5 }),
  ];
}

// Reward against judge over evaluations: a run that learns its task goes up and to the right.
function scatter(run) {
  const [reward, judge, parted] = ["heldout_reward", "heldout_judge", "heldout_parted"].map(
    (name) => new Map(run.metrics[name] ? points(run, name) : []),
  );
  const known = [...reward.keys()].filter((iterations) => judge.has(iterations)); // one of the two may be no number
  if (!known.length) return null;
  const some = (keep, look) => ({
    x: known.filter(keep).map((iterations) => reward.get(iterations)),
    y: known.filter(keep).map((iterations) => judge.get(iterations)),
    labels: known.filter(keep).map((iterations) => (iterations ? `after ${plural(iterations, "iteration")}` : "base")),
    name: "judge",
    points: true,
    line: false,
    ...look,
  });
  const lost = (iterations) => parted.get(iterations) > 0,
    base = (iterations) => iterations === 0;
  const series = [
    some(() => true, { colour: "faint", width: 1.5, points: false, line: true }),
    some((iterations) => !lost(iterations) && !base(iterations), { colour: "accent" }),
    some(lost, { colour: "bad" }),
    some(base, { colour: "faint" }),
  ].filter(({ x }) => x.length);
  return card(
    make("h3", {}, "Reward against judge"),
    about(
      `One dot an evaluation${known.some(base) ? ", the base model grey" : ""}. A run that learns its task goes up and to the right;`,
      "right and down means that it learns its reward alone.",
      known.some(lost) && "Red: reward and judge have parted.",
    ),
    chart({
      label: `Held-out reward against judge at ${plural(known.length, "evaluation")}`,
      height: 260,
      x: "held-out reward",
      y: "judge",
      ticks: false,
      series,
    }),
  );
}
