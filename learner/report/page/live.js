"use strict";
// A run that trains: asks the server that the page came from what it is at, and takes up what is new without losing a person's place.

const EVERY = 2000; // milliseconds

async function follow() {
  const banner = make("p", { class: "card live", role: "status" });
  document.getElementById("main").before(banner);
  for (;;) {
    try {
      const state = await (await fetch("state")).json();
      banner.className = `card live ${state.tone}`;
      banner.textContent = state.words;
      if (state.stamp !== content.stamp) {
        const latest = await contentOf(await (await fetch("content")).text());
        if (latest.stamp !== content.stamp) {
          content = latest;
          keepingPlace(render);
        }
      }
    } catch {
      banner.className = "card live gone";
      banner.textContent = "The server of this page does not answer; what is below is what it last said.";
    }
    await new Promise((done) => setTimeout(done, EVERY));
  }
}

// Everything that can be set keeps its value; what stood at its end, such as the last iteration, stays at the end.
function keepingPlace(again) {
  const inputs = [...document.querySelectorAll("main [id]:is(input, select)")].map(({ id, value, max }) => ({
    id,
    value,
    atEnd: max && value === max,
  }));
  const open = [...document.querySelectorAll("main details")].map((each) => each.open),
    active = document.activeElement?.id,
    [x, y] = [scrollX, scrollY];
  again();
  for (const { id, value, atEnd } of inputs) {
    const input = document.getElementById(id);
    if (!input || input.value === value || atEnd) continue;
    input.value = value;
    for (const kind of ["input", "change"]) input.dispatchEvent(new Event(kind));
  }
  [...document.querySelectorAll("main details")].forEach((each, i) => {
    if (open[i] !== undefined) each.open = open[i];
  });
  if (active) document.getElementById(active)?.focus({ preventScroll: true });
  scrollTo({ left: x, top: y, behavior: "instant" });
}
