"use strict";
// What the run was made from, and how to make it again.

function provenanceSection(run) {
  const { recipe, settings, facts, commands } = run.provenance,
    changed = settings.filter(([, value, usual]) => value !== usual),
    same = settings.filter(([, value, usual]) => value === usual);
  const heads = ["setting", "here", recipe, "meaning"];
  return section(
    "provenance",
    "Provenance",
    card(
      make("h3", {}, "Commands"),
      commands.map(([what, line]) => make("div", {}, make("p", {}, what), command(line))),
    ),
    card(
      make("h3", {}, "Settings"),
      settings.length
        ? [
            changed.length
              ? table(`${plural(changed.length, "setting")} other than in the nearest recipe, ${recipe}`, heads, changed)
              : make("p", {}, `All settings are those of the recipe ${recipe}.`),
            make(
              "details",
              {},
              make("summary", {}, `${plural(same.length, "setting")} as there`),
              table(
                `Settings as in ${recipe}`,
                [heads[0], heads[1], heads[3]],
                same.map(([key, value, , meaning]) => [key, value, meaning]),
              ),
            ),
          ]
        : empty("config.yaml is not there, or cannot be read."),
    ),
    make(
      "div",
      { class: "two" },
      Object.entries(facts).map(([title, of]) =>
        card(
          make("h3", {}, title[0].toUpperCase() + title.slice(1)),
          make(
            "dl",
            { class: "pairs" },
            Object.entries(of).map(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]),
          ),
        ),
      ),
    ),
  );
}
