"use strict";
// The theme, before anything is painted: what a person chose, else what the system says.

const dark = matchMedia("(prefers-color-scheme: dark)");
let chosen = null;

function setTheme(theme = chosen ?? (dark.matches ? "dark" : "light")) {
  document.documentElement.dataset.theme = theme;
}

setTheme();
