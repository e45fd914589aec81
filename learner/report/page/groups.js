"use strict";
// Every iteration, every group, every sample: reward, what it is made of, advantage, log-probs, and the sample itself.

function groupsSection(run) {
  const title = "Groups",
    all = run.rollouts;
  if (!all.length) return section("groups", title, card(empty("No rollout is in the folder yet.")));
  const slider = make("input", {
    type: "range",
    id: "groups-iteration",
    min: 0,
    max: all.length - 1,
    value: all.length - 1,
    oninput: () => list(),
  });
  const said = make("output", { for: "groups-iteration", class: "clock" });
  const search = make("input", {
    type: "search",
    id: "groups-search",
    placeholder: "words of a prompt, in any iteration",
    oninput: () => list(),
  });
  const extremes = make("div", { class: "extremes" }),
    rows = make("div", { class: "groups", role: "list" }),
    opened = make("div", { id: "opened", tabindex: "-1" });
  const bestWorst = run.shown ? new Player(run, "Best and worst of the iteration") : null;
  const range = spreadOf(all.flatMap((each) => each.groups.flatMap((group) => group.rewards)));

  function list() {
    const words = search.value.trim().toLowerCase(),
      at = Number(slider.value),
      { iteration } = all[at];
    said.textContent = words ? "every iteration" : `iteration ${iteration + 1}`;
    slider.disabled = Boolean(words);
    slider.setAttribute("aria-valuetext", said.textContent);
    const found = all
      .flatMap((each, i) => (words || i === at ? each.groups.map((group, g) => ({ group, iteration: each.iteration, g })) : []))
      .filter(({ group }) => group.prompt.toLowerCase().includes(words));
    rows.replaceChildren(
      ...found.slice(0, 120).map((each) => groupRow(each, range, words, () => open(each))),
      ...(found.length ? [] : [empty("No prompt has these words.")]),
      ...(found.length > 120 ? [empty(`${found.length - 120} more; more words find fewer.`)] : []),
    );
    extremes.hidden = Boolean(words);
    if (!words) showExtremes(all[at]);
  }

  function showExtremes({ groups, iteration }) {
    const samples = groups
      .flatMap((group) => group.rewards.map((reward, i) => ({ group, reward, i })))
      .filter(({ reward }) => reward != null)
      .sort((a, b) => b.reward - a.reward);
    if (!samples.length) return extremes.replaceChildren(empty("No sample of this iteration has a reward."));
    const cells = [
      ["best", samples[0]],
      ["worst", samples.at(-1)],
    ].map(([name, { group, reward, i }]) => ({
      title: run.shown?.kind === "text" ? name : `${name}: ${group.prompt}`,
      note: `reward ${number(reward, 3)}`,
      asked: run.shown?.kind === "text" ? pictureOf(run, group) : null,
      output: group.outputs[i],
      picture: group.picture,
      tone: name,
      file: `${run.name}-iteration${iteration + 1}-${name}`,
    }));
    if (bestWorst) {
      extremes.replaceChildren(make("h3", {}, `Best and worst of iteration ${iteration + 1}`), bestWorst.host);
      bestWorst.show(cells);
    }
  }

  opened.show = ({ iteration, g }) => {
    const group = all.find((each) => each.iteration === iteration)?.groups[g];
    opened.group = group && { iteration, g };
    opened.replaceChildren(...(group ? [openedGroup(run, group, iteration, g)] : []));
  };
  function open(each) {
    opened.show(each);
    opened.scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
    opened.focus({ preventScroll: true });
  }

  list();
  const missing = run.iterations.length - all.length;
  return section(
    "groups",
    title,
    card(
      about(
        "Samples of one prompt are compared with each other: one above its group's mean has a positive advantage and is made likelier.",
        "Each dot below is a sample.",
        missing > 0 && `${plural(missing, "iteration")} between these are not on this page; rollouts/ has all.`,
      ),
      make(
        "div",
        { class: "choose" },
        make("label", { for: "groups-iteration" }, "Iteration"),
        slider,
        said,
        make("label", { for: "groups-search" }, "Search"),
        search,
      ),
      extremes,
      make("h3", {}, "Groups"),
      rows,
    ),
    opened,
  );
}

function spreadOf(values) {
  const known = values.filter((value) => value != null);
  let [low, high] = [Infinity, -Infinity];
  for (const value of known) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return known.length ? [low, high === low ? low + 1 : high] : [0, 1];
}

function groupRow({ group, iteration }, [low, high], words, open) {
  const scored = group.rewards.filter((reward) => reward != null),
    failed = group.rewards.length - scored.length;
  const dots = scored.map((reward) => make("i", { style: `left:${(((reward - low) / (high - low)) * 100).toFixed(2)}%` }));
  const text = `${words ? `iteration ${iteration + 1}: ` : ""}${group.prompt}`;
  return make(
    "div",
    { role: "listitem" },
    make(
      "button",
      { type: "button", class: "group", onclick: open },
      make("span", { class: "prompt" }, text),
      make("span", { class: "strip", "aria-hidden": "true" }, dots),
      make(
        "span",
        { class: "number" },
        scored.length ? `${fixed(mean(scored))} mean` : "no reward",
        failed ? make("em", {}, ` ${failed} failed`) : null,
      ),
    ),
  );
}

function openedGroup(run, group, iteration, g) {
  const order = group.rewards
    .map((reward, i) => [reward ?? -Infinity, i])
    .sort((a, b) => b[0] - a[0])
    .map(([, i]) => i);
  const names = Object.keys(group.components),
    kept = order.filter((i) => group.outputs[i] != null);
  const metric = (name) => run.metrics[name]?.values[run.iterations.indexOf(iteration + 1)];
  const lines = [
    ["ratio", "mean_ratio"],
    ["KL", "kl"],
    ["clipped", "clip_fraction"],
  ]
    .filter(([, name]) => metric(name) != null)
    .map(([word, name]) => `${word} ${number(metric(name))}`);
  const rows = order.map((i, rank) =>
    [
      rank + 1,
      i,
      group.rewards[i],
      group.advantages[i],
      ...names.map((name) => group.components[name][i]),
      group.log_prob[i],
      group.lengths[i],
    ].map((value, column) => (column > 1 && column < 5 + names.length && value != null ? number(value, 3) : value)),
  );
  const player = run.shown ? new Player(run, `Samples of: ${group.prompt}`, false) : null;
  player?.show(
    kept.map((i) => ({
      title: `#${order.indexOf(i) + 1}`,
      note: `reward ${number(group.rewards[i], 3)}, advantage ${signed(group.advantages[i] ?? 0, 2)}`,
      output: group.outputs[i],
      picture: group.picture,
      tone: group.advantages[i] > 0 ? "best" : "worst",
      file: `${run.name}-iteration${iteration + 1}-group${g}-sample${i}`,
    })),
  );
  const lost = group.outputs.length - kept.length;
  return card(
    make("h3", {}, run.shown?.kind === "text" ? "Group" : group.prompt),
    about(
      `Iteration ${iteration + 1}, group ${g + 1}, sampled under adapter version ${group.version} (${group.sha256}).`,
      lines.length && `All of the iteration: ${lines.join(", ")}.`,
    ),
    make("div", { class: "shown" }, run.shown ? pictureOf(run, group) : []),
    player ? player.host : null,
    lost && run.shown
      ? about(
          `${plural(lost, "sample")} of this group ${lost === 1 ? "has" : "have"} numbers and no`,
          `${run.shown.kind === "motion" ? "motion" : "answer"} here; rollouts/ keeps what the run was told to keep.`,
        )
      : null,
    table(
      "Samples, the best first",
      ["rank", "sample", "reward", "advantage", ...names, "mean log-prob", run.shown?.kind === "text" ? "tokens" : "length"],
      rows,
    ),
    kept.length ? actionsOf(run, group, kept, order) : null,
  );
}

// What is known of every trained action of a group: log-probs, ratios, KL, and of answers the tokens.
function actionsOf(run, group, kept, order) {
  const word = run.shown.kind === "text" ? "token" : "trained step";
  const of = (i) => run.actions[group.outputs[i]],
    all = (name) => kept.flatMap((i) => of(i)[name] ?? []).filter((value) => value != null);
  const drawn = (name, y) =>
    chart({
      label: `${y} of every trained action, best sample first`,
      x: word,
      y,
      height: 200,
      series: kept
        .filter((i) => of(i)[name])
        .map((i) => ({
          name: `#${order.indexOf(i) + 1}`,
          x: of(i)[name].map((_, k) => k + 1),
          y: of(i)[name],
          colour: group.advantages[i] > 0 ? "good" : "bad",
          points: name === "kl",
          width: 1,
        })),
    });
  const ratios = all("ratio");
  return make(
    "details",
    {},
    make("summary", {}, `Log-probs, ratios and KL by ${word}`),
    drawn("log_probs", "log-prob, nats"),
    !ratios.length
      ? null
      : ratios.every((ratio) => ratio === 1)
        ? about("The ratio to the policy that sampled is exactly 1 at every action.")
        : drawn("ratio", "ratio"),
    all("kl").length ? drawn("kl", "KL, nats") : null,
    kept.filter((i) => of(i).tokens).map((i) => tokensOf(`#${order.indexOf(i) + 1}`, of(i))),
  );
}

// An answer, token by token, each above its log-prob; the unlikelier one was, the darker it stands.
function tokensOf(name, { tokens, log_probs }) {
  return make(
    "p",
    { class: "tokens" },
    make("strong", {}, `${name} `),
    tokens.map((text, k) => {
      const value = log_probs?.[k],
        shade = value == null ? 0 : Math.round(60 * (1 - Math.exp(value)));
      return make(
        "span",
        { style: `background:color-mix(in srgb, var(--trail) ${shade}%, transparent)` },
        text.replaceAll("\n", "↵"),
        make("small", {}, number(value, 2)),
      );
    }),
  );
}
