"use strict";
// Elements of the page. Whatever a prompt or a setting holds becomes text, never markup.

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child != null));
  return element;
}

function section(id, title, ...children) {
  return make("section", { id, "aria-labelledby": `${id}-title` }, make("h2", { id: `${id}-title` }, title), ...children);
}

function card(...children) {
  return make("div", { class: "card" }, ...children);
}

// What a part of the page shows, in a few sentences; those that are false are left out.
function about(...sentences) {
  return make("p", { class: "about" }, sentences.filter(Boolean).join(" "));
}

function empty(text) {
  return make("p", { class: "empty" }, text);
}

function option(value, text) {
  return make("option", { value }, text);
}

// A table that scrolls sideways on a narrow screen. Numbers stand right.
function table(caption, heads, rows) {
  const numeric = (content) => typeof content === "number" || /^[+−-]?[\d.]+(e[+-]?\d+)?( ± .*)?$/.test(content);
  const right = heads.map((_, column) => rows.every((row) => row[column] == null || numeric(row[column])));
  const cell = (content, column) =>
    make("td", { class: right[column] ? "number" : null }, typeof content === "number" ? number(content) : (content ?? "–"));
  return make(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    make(
      "table",
      {},
      make("caption", {}, caption),
      make(
        "thead",
        {},
        make(
          "tr",
          {},
          heads.map((head, column) => make("th", { scope: "col", class: right[column] ? "number" : null }, head)),
        ),
      ),
      make(
        "tbody",
        {},
        rows.map((row) => make("tr", {}, row.map(cell))),
      ),
    ),
  );
}

function number(value, digits = 4) {
  if (value == null) return "–";
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return String(value);
  const size = Math.abs(value);
  return size && (size < 1e-3 || size >= 1e5) ? value.toExponential(2) : String(Number(value.toPrecision(digits)));
}

// With its zeros, for numbers that stand beside each other.
function fixed(value, digits = 3) {
  const size = Math.abs(value);
  return size && (size < 1e-3 || size >= 1e4) ? value.toExponential(digits - 1) : value.toPrecision(digits);
}

function signed(value, digits = 3) {
  return (value > 0 ? "+" : value < 0 ? "−" : "±") + number(Math.abs(value), digits);
}

function plural(count, word) {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}

function command(text) {
  const button = make("button", { type: "button", class: "quiet", "aria-label": `Copy: ${text}` }, "copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(button.previousSibling);
    }
    setTimeout(() => {
      button.textContent = "copy";
    }, 1500);
  });
  return make("div", { class: "command" }, make("code", { tabindex: "0" }, text), button);
}

function download(name, parts, type) {
  const url = URL.createObjectURL(new Blob(parts, { type }));
  const link = make("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

// Colours of the theme, by their name in page.css; `colours.clear()` when it changes.
const colours = new Map();

function colour(name) {
  if (!colours.has(name)) colours.set(name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
  return colours.get(name);
}
