"use strict";
// The theme, before anything is painted: what a person chose, else what the system says.

const dark = matchMedia("(prefers-color-scheme: dark)");
let chosen = null;

function setTheme() {
  document.documentElement.dataset.theme = chosen ?? (dark.matches ? "dark" : "light");
}

setTheme();
