"use strict";
// Watch it learn: what the model made of the same held-out prompt and noise, at every evaluation.

function stopName(run, iterations) {
  if (iterations === 0) return "base";
  if (iterations !== run.evaluations.at(-1).iterations) return `after ${plural(iterations, "iteration")}`;
  return `${run.final ? "final" : "last"}, after ${iterations}`; // one without an end has been evaluated, but not when it was done
}

function viewerSection(run) {
  const title = "Watch it learn";
  if (!run.shown) return section("watch", title, card(empty("This family of models shows no samples.")));
  if (!run.evaluations.length)
    return section(
      "watch",
      title,
      card(empty("No evaluation kept what the model made: the folder has no evaluations/. The groups below have samples of training.")),
    );
  const stops = run.evaluations,
    last = stops.length - 1,
    prompts = stops[0].groups;
  const player = new Player(run, "Base model, and the model while it learned");
  const prompt = make(
    "select",
    { id: "watch-prompt", onchange: () => show() },
    prompts.map((group, i) => option(i, group.prompt)),
  );
  const sample = make(
    "select",
    { id: "watch-sample", onchange: () => show() },
    prompts[0].rewards.map((_, i) => option(i, `noise ${i + 1}`)),
  );
  const slider = make("input", {
    type: "range",
    id: "watch-stop",
    min: 0,
    max: last,
    step: 1,
    value: Math.max(0, last - 1),
    list: "watch-stops",
    oninput: () => show(),
  });
  const ticks = stops.map(({ iterations }, stop) => make("option", { value: stop, label: stopName(run, iterations) }));
  const said = make("output", { for: "watch-stop", class: "clock" });
  const picture = make("div", { class: "shown" });
  const between = last > 1,
    absent = stops.reduce((sum, { skipped }) => sum + skipped, 0),
    lacking = stops.some(({ groups }) => groups.some(({ outputs }) => outputs[0] != null && outputs.includes(null)));
  const cell = (stop) => {
    const group = stops[stop].groups[Number(prompt.value)],
      i = Number(sample.value);
    const parts = group.components.judge ? `, judge ${number(group.components.judge[i], 3)}` : "";
    return {
      title: stopName(run, stops[stop].iterations),
      note: `reward ${number(group.rewards[i], 3)}${parts}`,
      output: group.outputs[i],
      picture: group.picture,
      tone: stop === 0 ? "base" : "tuned",
      file: `${run.name}-prompt${prompt.value}-noise${i + 1}-iteration${stops[stop].iterations}`,
    };
  };
  function show() {
    const middle = Number(slider.value),
      i = Number(prompt.value);
    const wanted = [...new Set([0, middle, last])].filter((stop) => stops[stop]);
    // One cell for each side that is always there, so that the slider moves a picture and not the page.
    const cells = (between ? [0, middle, last] : wanted).map(cell);
    if (between) cells[1].title = middle === 0 ? "base" : cells[1].title;
    const real = stops[0].groups[i].real;
    if (real != null) {
      const file = `${run.name}-prompt${i}-real`;
      cells.push({ title: "real", note: "what a person did, recorded", output: real, tone: "real", file });
    }
    said.textContent = stopName(run, stops[middle].iterations);
    slider.setAttribute("aria-valuetext", said.textContent);
    picture.replaceChildren(...pictureOf(run, stops[0].groups[i]));
    player.show(cells);
  }
  show();
  if (player.motion && !calm) player.play(true);
  const course = chart({
    label: "Reward of the watched held-out prompts at each evaluation",
    height: 150,
    y: "reward",
    series: prompts
      .map((_, i) => ({
        name: prompts[i].prompt.slice(0, 60),
        x: stops.map((stop) => stop.iterations),
        y: stops.map((stop) => mean(stop.groups[i].rewards)),
        colour: "faint",
        width: 1,
      }))
      .concat({
        name: "mean",
        x: stops.map((stop) => stop.iterations),
        y: stops.map((stop) => mean(stop.groups.flatMap((group) => group.rewards))),
        colour: "accent",
        width: 3,
      }),
  });
  return section(
    "watch",
    title,
    card(
      about(
        `The same prompt under the same noise, at ${plural(stops.length, "evaluation")}.`,
        player.motion && "A foot is green while it stands and violet while it slides faster than 0.2 m/s.",
        absent > 0 && `${plural(absent, "evaluation")} between these are not on this page; evaluations/ has all.`,
        lacking && "Of evaluations between the first and the last, this page has room for the first noise alone.",
        player.motion ? "The amber line is the way of the pelvis." : "Parts of an answer have the colour of their tag.",
      ),
      make(
        "div",
        { class: "choose" },
        make("label", { for: "watch-prompt" }, "Prompt"),
        prompt,
        make("label", { for: "watch-sample" }, "Noise"),
        sample,
      ),
      between
        ? make(
            "div",
            { class: "choose" },
            make("label", { for: "watch-stop" }, "Training"),
            slider,
            make("datalist", { id: "watch-stops" }, ticks),
            said,
          )
        : null,
      picture,
      player.host,
      stops.length > 1 ? make("details", {}, make("summary", {}, "Rewards of the watched prompts"), course) : null,
    ),
  );
}

// What the model was shown with the prompt, if anything, and the right answer where there is one.
function pictureOf(run, group) {
  if (run.shown.kind !== "text") return [];
  const picture =
    group.picture == null ? null : make("img", { src: run.pictures[group.picture], alt: "What the model was shown with the question" });
  const truth = group.truth ? make("p", {}, "Right answer: ", make("strong", {}, group.truth)) : null;
  return [picture, make("pre", { class: "question" }, group.prompt), truth].filter(Boolean);
}

function mean(values) {
  const known = values.filter((value) => value != null);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}
