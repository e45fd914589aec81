"use strict";
// Where the time went.

const TONES = ["accent", "trail", "right", "good", "faint", "trunk", "violet", "slides", "teal", "olive", "ink"];

function timelineSection(run) {
  const { measured, list, iterations } = run.spans;
  if (!list.length) return section("timeline", "Timeline", card(empty("No time was measured yet.")));
  // Once over all spans, of which a long run has many: seconds of every kind in every iteration, and the spans of each.
  const spent = new Map(), // by kind, by iteration
    within = new Map();
  for (const span of list) {
    const [, what, iteration, start, end] = span;
    const own = spent.get(what) ?? spent.set(what, new Map()).get(what);
    own.set(iteration, (own.get(iteration) ?? 0) + end - start);
    within.set(iteration, within.get(iteration) ?? []);
    within.get(iteration).push(span);
  }
  const whats = [...spent.keys()],
    actors = [...new Set(list.map(([actor]) => actor))];
  const tone = (what) => TONES[whats.indexOf(what) % TONES.length],
    sum = (values) => [...values].reduce((total, value) => total + value, 0),
    all = sum(whats.map((what) => sum(spent.get(what).values())));
  const slider = make("input", {
    type: "range",
    id: "timeline-iteration",
    min: 0,
    max: iterations.length - 1,
    value: iterations.length - 1,
    oninput: () => show(),
  });
  const said = make("output", { class: "clock", for: "timeline-iteration" }),
    bars = make("div", { class: "lanes" }),
    words = make("p", { class: "about" }),
    numbers = make("div");
  function show() {
    const { iteration, seconds, idle, critical } = iterations[Number(slider.value)],
      inside = within.get(iteration);
    const begin = Math.min(...inside.map((span) => span[3])),
      length = Math.max(seconds, 1e-9);
    const named = run.iterations.includes(iteration + 1) ? `iteration ${iteration + 1}` : "after the last iteration";
    said.textContent = `${named}: ${seconds.toFixed(1)} s`;
    slider.setAttribute("aria-valuetext", said.textContent);
    bars.replaceChildren(
      ...actors
        .filter((actor) => inside.some((span) => span[0] === actor))
        .map((actor) =>
          make(
            "div",
            { class: "lane" },
            make("span", { class: "actor" }, actor),
            make(
              "span",
              { class: "track" },
              inside
                .filter((span) => span[0] === actor)
                .map(([, what, , start, end]) =>
                  make("i", {
                    class: `span tone-${tone(what)}`,
                    title: `${what}: ${(end - start).toFixed(2)} s`,
                    style: `left:${((start - begin) / length) * 100}%;width:${Math.max(0.2, ((end - start) / length) * 100)}%`,
                  }),
                ),
            ),
            make(
              "span",
              { class: "idle" },
              measured ? `${Math.round(idle[actor] * 100)} % idle` : `${((1 - idle[actor]) * seconds).toFixed(1)} s`,
            ),
          ),
        ),
    );
    words.textContent = measured ? `Critical path: ${runsOf(critical).join(" → ")}.` : "";
    numbers.replaceChildren(
      table(
        `What was done in order of begin, ${named}`,
        ["actor", "what", "begins, s", "takes, s"],
        inside
          .sort((a, b) => a[3] - b[3])
          .map(([actor, what, , start, end]) => [actor, what, (start - begin).toFixed(2), (end - start).toFixed(2)]),
      ),
    );
  }
  show();
  const legend = make(
    "ul",
    { class: "legend" },
    whats.map((what) => {
      const total = sum(spent.get(what).values());
      const share = Math.round((total / all) * 100);
      return make("li", {}, make("i", { class: `tone-${tone(what)}` }), `${what} ${total.toFixed(1)} s, ${share} %`);
    }),
  );
  return section(
    "timeline",
    "Timeline",
    card(
      about(
        measured
          ? "What every actor did."
          : "What the driver waited for, one stage after the other, as the metrics have it; who else worked meanwhile was not measured.",
        content.runs.length === 1 && !document.body.dataset.live ? "The trace beside this page opens in Perfetto and chrome://tracing." : "",
      ),
      legend,
      chart({
        label: "Seconds of every iteration",
        height: 190,
        y: "seconds",
        series: whats.map((what) => ({
          name: what,
          colour: tone(what),
          x: iterations.map(({ iteration }) => iteration + 1),
          y: iterations.map(({ iteration }) => spent.get(what).get(iteration) ?? 0),
        })),
      }),
      make("div", { class: "choose" }, make("label", { for: "timeline-iteration" }, "Iteration"), slider, said),
      bars,
      words,
      make("details", {}, make("summary", {}, "Seconds of every span"), numbers),
    ),
  );
}

// Steps in words; those that one actor does after each other, such as a gradient a group, are one.
function runsOf(steps) {
  const runs = [];
  for (const { actor, what, seconds } of steps) {
    const last = runs.at(-1);
    if (last?.actor === actor && last.what === what) {
      last.times++;
      last.seconds += seconds;
    } else runs.push({ actor, what, seconds, times: 1 });
  }
  return runs.map(({ actor, what, seconds, times }) => `${times > 1 ? `${times} × ` : ""}${what} (${actor}) ${seconds.toFixed(1)} s`);
}
