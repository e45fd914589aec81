"use strict";
// Puts the page together, and takes it up again when the theme, the run or the content changes.

const SECTIONS = {
  verdict: "Verdict",
  across: "All runs",
  watch: "Watch",
  groups: "Groups",
  curves: "Curves",
  timeline: "Timeline",
  blind: "Blind",
  provenance: "Provenance",
};
let content = null,
  shownRun = 0;

function render() {
  const run = content.runs[shownRun];
  const parts = [
    verdictSection,
    () => acrossSection(content),
    viewerSection,
    groupsSection,
    curvesSection,
    timelineSection,
    blindSection,
    provenanceSection,
  ];
  const made = parts
    .map((part) => {
      try {
        return part(run);
      } catch (error) {
        console.error(error);
        return section("broken", "A part of this page", card(empty(`It could not be drawn: ${error.message}`)));
      }
    })
    .filter(Boolean);
  document.getElementById("main").replaceChildren(...made);
  document.getElementById("run-name").textContent = content.runs.length > 1 ? "" : run.name;
  document
    .getElementById("nav")
    .replaceChildren(...made.filter((each) => SECTIONS[each.id]).map((each) => make("a", { href: `#${each.id}` }, SECTIONS[each.id])));
}

function retheme() {
  setTheme();
  colours.clear();
  redrawCharts();
  redrawPlayers();
}

// On paper everything is open. What the browser's own menu prints has those charts alone that were on the screen before, and the
// names of the others: a chart takes a moment, for which only `printed` can wait.
addEventListener("beforeprint", () => {
  const closed = document.querySelectorAll("main details:not([open])");
  for (const each of closed) each.open = true;
  addEventListener("afterprint", () => closed.forEach((each) => (each.open = false)), { once: true });
});

async function printed() {
  dispatchEvent(new Event("beforeprint"));
  await Promise.all([...document.querySelectorAll(".chart")].map(painted));
  print();
}

addEventListener("keydown", (event) => {
  if (event.key !== "p" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  printed();
});

async function begin() {
  try {
    content = await contentOf(document.getElementById("content").textContent);
  } catch (error) {
    document.getElementById("loading").textContent +=
      " This browser is too old to unpack the rest: it needs DecompressionStream (Chromium 80, Firefox 113, Safari 16.4).";
    throw error;
  }
  Bokeh.set_log_level("warn");
  const choose = document.getElementById("run");
  if (content.runs.length > 1) {
    choose.hidden = false;
    choose.replaceChildren(...content.runs.map((run, i) => option(i, run.name)));
    choose.addEventListener("change", () => {
      shownRun = Number(choose.value);
      render();
    });
  }
  render();
  document.getElementById("theme").addEventListener("click", () => {
    chosen = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    retheme();
  });
  dark.addEventListener("change", retheme);
  document.getElementById("print").addEventListener("click", printed);
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
  document.body.dataset.ready = "yes";
  if (document.body.dataset.live) follow();
}

addEventListener("DOMContentLoaded", begin);
