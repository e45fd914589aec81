"use strict";
// What became of the run, in words, and what to do next.

const CHANGES = { better: "better", worse: "worse", none: "no clear change", moved: "changed" };

function verdictSection(run) {
  const { tone, headline, sentences, tiles, advice, facts, warnings, defects } = run.verdict;
  const {
    "What to do next": next = [],
    "What happened": happened = [],
    "Likely causes, the likeliest first": causes = [],
    "How it ended": ended = [],
    "What it could do without": suggested = [],
  } = advice;
  const uneventful = happened.length === 1 && happened[0].startsWith("nothing");
  return make(
    "section",
    { id: "verdict", "aria-labelledby": "verdict-title" },
    make(
      "div",
      { class: `card headline ${tone}` },
      make("h1", { id: "verdict-title" }, headline),
      sentences.length ? make("p", {}, sentences.join(" ")) : null,
      make(
        "dl",
        { class: "facts" },
        facts.map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))),
      ),
    ),
    tiles.length ? make("div", { class: "tiles" }, tiles.map(tile)) : null,
    ...[...new Set([...warnings, ...defects])].map((text) => make("p", { class: "card warning", role: "note" }, text)),
    ...suggested.map((text) => make("p", { class: "card advisory", role: "note" }, make("strong", {}, "Advice "), text)),
    make(
      "div",
      { class: "two" },
      card(make("h3", {}, "What to do next"), next.length ? next.map(advised) : empty("Nothing that can be told from here.")),
      card(
        make("h3", {}, ended.length ? "How it ended" : "So far"),
        ended.map((line) => make("p", {}, line)),
        uneventful ? make("p", {}, "Nothing happened that the monitor watches for.") : null,
        uneventful
          ? null
          : make(
              "details",
              {},
              make("summary", {}, `What happened, and likely causes (${happened.length})`),
              make(
                "ul",
                {},
                happened.map((line) => make("li", {}, line)),
              ),
              causes.length
                ? make(
                    "ul",
                    {},
                    causes.map((line) => make("li", {}, line)),
                  )
                : null,
            ),
      ),
    ),
  );
}

function tile({ label, unit, before, after, gain, half, change, less, meaning }) {
  return make(
    "div",
    { class: `tile ${change}`, title: meaning },
    make("span", { class: "label" }, label === "fid" ? "FID" : label, unit ? make("span", { class: "unit" }, ` ${unit}`) : null),
    make("span", { class: "after" }, make("span", { class: "before" }, `${fixed(before)} → `), fixed(after)),
    make("span", { class: "gain" }, signed(gain, 2), half == null ? ", no interval" : ` ± ${number(half, 2)}`),
    make("span", { class: "change" }, CHANGES[change] + (less ? ", less is better" : "")),
  );
}

// A line of advice: a command with a word about it, or words alone.
function advised(line) {
  const [text, about] = line.split(/ {4}# /);
  if (!text.startsWith("python ")) return make("p", {}, line);
  return make("div", {}, about ? make("p", {}, about) : null, command(text));
}

const SEEN = 3; // held-out metrics over all runs: the first are reward and judge

function acrossSection({ runs, across }) {
  if (!across) return null;
  const rows = Object.entries(across.gains).map(([name, of]) => [
    name,
    of.runs,
    `${signed(of.mean)}${of.half == null ? "" : ` ± ${number(of.half, 2)}`}`,
    ...runs.map((run) => {
      const own = [...run.verdict.tiles, ...run.verdict.beside].find((each) => each.label === name);
      return own ? `${signed(own.gain)}${own.half == null ? "" : ` ± ${number(own.half, 2)}`}` : "–";
    }),
  ]);
  const { mean_reward: reward, ...rest } = across.curves,
    figures = Object.entries(rest).map(([name, of]) => bandedFigure(runs, name, of));
  return section(
    "across",
    "All runs together",
    card(
      about(
        `Mean of ${plural(reward?.runs ?? runs.length, "run")}; the band and ± are 95 % intervals over runs (Student's t), at every iteration`,
        "for which each of them has a number. Dotted: each alone.",
      ),
      reward ? banded(runs, "mean_reward", reward, { height: 240, y: "training reward" }) : empty("They have no iteration in common."),
      rows.length ? table("Gains, held out", ["", "runs", "all", ...runs.map((run) => run.name)], rows) : null,
      figures.length ? make("h3", {}, "Held-out prompts") : null,
      make("div", { class: "curves" }, figures.slice(0, SEEN)),
      figures.length > SEEN
        ? make(
            "details",
            {},
            make("summary", {}, plural(figures.length - SEEN, "further metric")),
            make("div", { class: "curves" }, figures.slice(SEEN)),
          )
        : null,
    ),
  );
}

function bandedFigure(runs, name, of) {
  const { sentence, unit } = runs.find((run) => run.metrics[name]).metrics[name],
    [first, last] = [of.mean[0], of.mean.at(-1)];
  return make(
    "figure",
    { class: "curve" },
    make(
      "figcaption",
      {},
      make("strong", {}, titleOf(name), unit ? make("span", { class: "unit" }, ` ${unit}`) : null),
      make("span", { class: "now" }, first === last ? number(first, 3) : `${number(first, 3)} → ${number(last, 3)}`),
      make("span", { class: "about" }, sentence),
    ),
    banded(runs, name, of, { height: 130, quiet: true }),
  );
}

// The mean over runs in its band, and every run by itself.
function banded(runs, name, { runs: count, iterations, mean, half }, look) {
  const own = runs.filter((run) => run.metrics[name]);
  return chart({
    label: `${titleOf(name)}, mean of ${plural(count, "run")}, from ${number(mean[0])} to ${number(mean.at(-1))}`,
    ...look,
    series: [
      {
        name: "mean",
        x: iterations,
        y: mean,
        low: mean.map((value, i) => value - (half[i] ?? 0)),
        high: mean.map((value, i) => value + (half[i] ?? 0)),
        colour: "accent",
      },
      ...own.map((run) => ({ name: run.name, ...series(points(run, name), { colour: "faint", width: 1, dash: "dotted" }) })),
    ],
  });
}
