"use strict";
// Which is better? Base and tuned side by side without their names. The votes are a file that learner/report/votes.py reads.

function blindSection(run) {
  const title = "Blind comparison",
    [first, last] = [run.evaluations[0], run.evaluations.at(-1)];
  if (!run.shown || !first || first === last)
    return section(
      "blind",
      title,
      card(empty("This needs two evaluations that kept what the model made, such as before and after training.")),
    );
  const pairs = first.groups.flatMap((before) => {
    const after = last.groups.find(({ group }) => group === before.group);
    return before.outputs
      .map((_, sample) => ({ before, after, sample }))
      .filter(({ sample }) => {
        const [one, other] = [before, after].map((group) => run.outputs[group?.outputs[sample]]);
        return one && other && one !== other; // of two that are the same nobody can say which is better
      });
  });
  for (let i = pairs.length - 1; i > 0; i--) {
    const j = Math.floor(Math.random() * (i + 1));
    [pairs[i], pairs[j]] = [pairs[j], pairs[i]];
  }
  // A further evaluation makes other pairs, and another run of this name has other adapters.
  const adapters = Object.fromEntries([first, last].map((stop) => [stop.iterations, stop.groups[0].sha256]));
  const key = `votes ${run.name} ${JSON.stringify(adapters)}`,
    votes = remembered(key);
  const player = new Player(run, "Two samples without names"),
    picture = make("div", { class: "shown" }),
    prompt = make("h3", {}),
    said = make("p", { class: "about", "aria-live": "polite" }),
    result = make("p", { "aria-live": "polite" });
  let now = null; // the pair that is seen; until it is there no button can be pressed
  const left = () => pairs.filter(({ before, sample }) => !votes.some((vote) => vote.group === before.group && vote.sample === sample));
  async function next() {
    const rest = left(),
      focused = document.activeElement;
    said.textContent = `${plural(votes.length, "vote")}, ${plural(rest.length, "pair")} left.`;
    for (const button of buttons) button.disabled = true;
    if (!rest.length) {
      prompt.textContent = "That was the last pair.";
      player.grid.replaceChildren();
      return;
    }
    const pair = { ...rest[0], swapped: Math.random() < 0.5 },
      sides = pair.swapped ? [pair.after, pair.before] : [pair.before, pair.after];
    prompt.textContent = run.shown.kind === "text" ? "" : pair.before.prompt;
    picture.replaceChildren(...pictureOf(run, pair.before));
    player.time = 0;
    await player.show(sides.map((side, i) => ({ title: "AB"[i], output: side.outputs[pair.sample], picture: pair.before.picture })));
    now = { ...pair, since: performance.now() };
    for (const button of buttons) button.disabled = false;
    if (buttons.includes(focused)) focused.focus({ preventScroll: true });
  }
  function vote(chosen) {
    const sides = [first.iterations, last.iterations];
    if (now.swapped) sides.reverse();
    votes.push({
      prompt: now.before.prompt,
      group: now.before.group,
      sample: now.sample,
      left: sides[0],
      right: sides[1],
      chosen,
      seconds: Math.round((performance.now() - now.since) / 100) / 10,
    });
    try {
      localStorage.setItem(key, JSON.stringify(votes));
    } catch {
      /* a page that may keep nothing still has the file */
    }
    result.textContent = "";
    next();
  }
  function reveal() {
    const told = votes.filter(({ chosen }) => chosen !== "neither"),
      tuned = told.filter((each) => each[each.chosen] !== first.iterations).length;
    result.textContent = told.length
      ? `Tuned was chosen ${tuned} of ${told.length} times, 95 % interval ${interval(tuned, told.length)}; ` +
        `${plural(votes.length - told.length, "pair")} without a preference.`
      : "No vote yet.";
  }
  const buttons = [
    ["A is better", "left"],
    ["no difference", "neither"],
    ["B is better", "right"],
  ].map(([text, chosen]) => {
    // The second click of a double one is for a pair that nobody has looked at yet.
    const onclick = ({ detail }) => detail < 2 && vote(chosen);
    return make("button", { type: "button", class: "vote", onclick }, text);
  });
  const save = () =>
    download(
      `${run.name}-votes.json`,
      [JSON.stringify({ format: 2, run: run.name, adapters, votes }, null, 1) + "\n"],
      "application/json",
    );
  const begin = make(
    "button",
    {
      type: "button",
      class: "play",
      onclick: () => {
        stage.hidden = false;
        begin.hidden = true;
        next();
        if (player.motion && !calm) player.play(true);
      },
    },
    votes.length ? "Go on voting" : "Begin",
  );
  const stage = make("div", { hidden: true }, prompt, picture, player.host, make("div", { class: "choose votes" }, buttons), said);
  return section(
    "blind",
    title,
    card(
      about(
        `${plural(pairs.length, "pair")} of base and tuned that differ, of the same prompt and noise, in random order and without names.`,
        "Say which is better; the file of your votes is preference data.",
      ),
      begin,
      stage,
      make(
        "div",
        { class: "choose" },
        make("button", { type: "button", onclick: save }, "Download votes as .json"),
        make("button", { type: "button", onclick: reveal }, "Show the result so far"),
      ),
      result,
    ),
  );
}

function remembered(key) {
  try {
    const votes = JSON.parse(localStorage.getItem(key));
    return Array.isArray(votes) ? votes : [];
  } catch {
    return [];
  }
}

// 95 % interval of a share (Wilson), in percent.
function interval(count, of) {
  const z = 1.96,
    p = count / of,
    middle = (p + (z * z) / (2 * of)) / (1 + (z * z) / of),
    half = (z / (1 + (z * z) / of)) * Math.sqrt((p * (1 - p)) / of + (z * z) / (4 * of * of));
  return `${Math.round(Math.max(0, middle - half) * 100)} to ${Math.round(Math.min(1, middle + half) * 100)} %`;
}
