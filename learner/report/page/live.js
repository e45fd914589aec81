"use strict";
// A run that trains: asks the server that the page came from what it is at, and takes up what is new without losing a person's place.

const EVERY = 2000; // milliseconds

async function follow() {
  const banner = make("p", { class: "card live" }),
    heard = make("p", { class: "heard", role: "status" }); // what the banner counts is seen, not heard
  document.getElementById("main").before(banner, heard);
  const say = (tone, words) => {
    if (!banner.classList.contains(tone)) heard.textContent = words;
    banner.className = `card live ${tone}`;
    banner.textContent = words;
  };
  let told = content.runs[shownRun].verdict.headline;
  for (;;) {
    try {
      const state = await (await fetch("state")).json();
      say(state.tone, state.words);
      if (state.stamp !== content.stamp) {
        const latest = await contentOf(await (await fetch("content")).text());
        if (latest.stamp !== content.stamp) {
          content = latest;
          keepingPlace(render);
          const { headline } = content.runs[shownRun].verdict;
          if (headline !== told) heard.textContent = told = headline;
        }
      }
    } catch {
      say("gone", "The server of this page does not answer; what is below is what it last said.");
    }
    await new Promise((done) => setTimeout(done, EVERY));
  }
}

// Everything that can be set keeps its value; what stood at its end, such as the last iteration, stays at the end. Who votes goes on
// with the pairs that they began.
function keepingPlace(again) {
  const inputs = [...document.querySelectorAll("main [id]:is(input, select)")].map(({ id, value, max }) => ({
    id,
    value,
    atEnd: max && value === max,
  }));
  const seen = [...document.querySelectorAll("main [id]")].findLast((each) => each.offsetHeight && each.getBoundingClientRect().top < 100),
    top = seen?.getBoundingClientRect().top,
    open = new Map([...document.querySelectorAll("main details")].map((each) => [nameOf(each), each.open])),
    players = new Map([...document.querySelectorAll(".player")].map(({ player }) => [player.label, player])),
    group = document.getElementById("opened")?.group,
    votes = document.querySelector("#blind .votes")?.offsetHeight ? document.getElementById("blind") : null,
    focus = placeOf(document.activeElement);
  again();
  if (votes) document.getElementById("blind").replaceWith(votes);
  for (const { id, value, atEnd } of inputs) {
    const input = document.getElementById(id);
    if (!input || input.value === value || atEnd) continue;
    input.value = value;
    for (const kind of ["input", "change"]) input.dispatchEvent(new Event(kind));
  }
  if (group) document.getElementById("opened")?.show(group);
  for (const each of document.querySelectorAll("main details")) each.open = open.get(nameOf(each)) ?? each.open;
  for (const { player } of document.querySelectorAll(".player")) if (players.has(player.label)) player.goOnAs(players.get(player.label));
  focus()?.focus({ preventScroll: true });
  const now = document.getElementById(seen?.id)?.getBoundingClientRect().top;
  if (now != null) scrollBy({ top: now - top, behavior: "instant" });
}

// Of what has no id of its own; counts in its summary change.
function nameOf(details) {
  return `${details.closest("[id]").id} ${details.firstChild.firstChild.textContent.replace(/\d+/g, "")}`;
}

// Finds what takes an element's place on the page drawn again.
function placeOf(element) {
  const home = element.closest("[id]"),
    like = `${element.localName}${[...element.classList].map((name) => `.${name}`).join("")}`,
    at = home ? [...home.querySelectorAll(like)].indexOf(element) : -1;
  return () => {
    const again = home && document.getElementById(home.id);
    return at < 0 ? again : again?.querySelectorAll(like)[at];
  };
}
