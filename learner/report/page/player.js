"use strict";
// Samples side by side on one clock. Motions are played; answers are read.

const HOME = { azimuth: -Math.PI / 4, elevation: 0.3, zoom: 1, follow: false };

function redrawPlayers() {
  for (const { player } of document.querySelectorAll(".player")) player.draw();
}

class Player {
  // cells: [{title, note, asked, output, picture, file}]; output: a place among run.outputs, or null for what was not kept; asked:
  // elements that tell what was asked, where the cells differ in it.
  constructor(run, label, large = true) {
    Object.assign(this, { run, label, large, time: 0, playing: false, speed: 1, cells: [], camera: { ...HOME } });
    this.motion = run.shown?.kind === "motion";
    this.grid = make("div", { class: `cells ${large ? "large" : ""} ${this.motion ? "" : "texts"}` });
    this.host = make("div", { class: "player", role: "group", "aria-label": label }, this.grid, this.motion ? this.controls() : null);
    this.host.player = this;
    if (!this.motion) return;
    new ResizeObserver(() => this.draw()).observe(this.grid);
    new IntersectionObserver((entries) => {
      this.visible = entries.at(-1).isIntersecting;
      if (this.visible) this.tick();
    }).observe(this.grid);
  }

  controls() {
    this.button = make("button", { type: "button", class: "play", onclick: () => this.play(!this.playing) }, "▶ Play");
    this.scrub = make("input", {
      type: "range",
      min: 0,
      max: 1,
      step: 0.05,
      value: 0,
      "aria-label": "Time",
      oninput: () => {
        this.play(false);
        this.time = Number(this.scrub.value);
        this.draw();
      },
    });
    this.clock = make("span", { class: "clock" }, "0.0 s"); // no output: it would be read out at every frame
    this.pace = make(
      "select",
      {
        "aria-label": "Speed",
        onchange: () => {
          this.speed = Number(this.pace.value);
        },
      },
      [0.25, 0.5, 1, 2].map((value) => option(value, `${value} ×`)),
    );
    this.pace.value = 1;
    this.follow = make("input", {
      type: "checkbox",
      onchange: () => {
        this.camera.follow = this.follow.checked;
        this.draw();
      },
    });
    const zoom = (by, name, text) =>
      make(
        "button",
        {
          type: "button",
          class: "quiet",
          "aria-label": name,
          onclick: () => {
            this.camera.zoom = Math.min(4, Math.max(0.4, this.camera.zoom * by));
            this.draw();
          },
        },
        text,
      );
    const home = make(
      "button",
      {
        type: "button",
        class: "quiet",
        onclick: () => {
          Object.assign(this.camera, HOME, { follow: this.follow.checked });
          this.draw();
        },
      },
      "reset view",
    );
    return make(
      "div",
      { class: "controls" },
      this.button,
      this.scrub,
      this.clock,
      this.pace,
      make("label", {}, this.follow, " follow"),
      make("span", { class: "zoom" }, zoom(1 / 1.25, "Zoom out", "−"), zoom(1.25, "Zoom in", "+")),
      home,
    );
  }

  async show(cells) {
    const order = (this.order = (this.order || 0) + 1),
      read = this.motion ? motionOf : answerOf;
    const outputs = await Promise.all(cells.map((cell) => (cell.output == null ? null : read(this.run, cell.output))));
    if (order !== this.order) return; // something else was asked for meanwhile
    const motions = outputs.map((output) => output && this.motion && staged(output, this.run.shown));
    this.cells = cells.map((cell, i) => ({ ...cell, output: outputs[i], scene: motions[i] }));
    this.grid.replaceChildren(...this.cells.map((cell) => this.cell(cell)));
    if (!this.motion) return;
    const scenes = motions.filter(Boolean);
    this.frames = Math.max(1, ...scenes.map((scene) => scene.frames));
    this.span = Math.min(3.8, Math.max(2.1, 1.8 + 0.65 * Math.max(0, ...scenes.map((scene) => scene.reach))));
    this.scrub.max = this.frames - 1;
    this.time = Math.min(this.time, this.frames - 1);
    this.draw();
  }

  cell(cell) {
    const note = cell.note ? make("span", { class: "note" }, cell.note) : null;
    const caption = make("figcaption", {}, make("strong", { class: cell.tone || null }, cell.title), note);
    if (!cell.output) return make("figure", { class: "cell" }, caption, empty("not kept on this page"));
    if (!this.motion) {
      const { points, tags } = this.run.shown;
      const picture = points && cell.picture != null ? pointed(this.run.pictures[cell.picture], cell.output, points) : null;
      return make("figure", { class: "cell" }, caption, cell.asked, picture, answer(cell.output, tags));
    }
    cell.canvas = make("canvas", {
      role: "img",
      tabindex: "0",
      "aria-label": `${cell.title}. Drag, or use the arrow keys, to look from another side.`,
    });
    this.orbit(cell.canvas);
    const save = (kind) =>
      make(
        "button",
        {
          type: "button",
          class: "quiet",
          "aria-label": `Download ${cell.title} as .${kind}`,
          onclick: () => {
            const parts = kind === "npy" ? npy(cell.output, this.run.shown.names.length) : [bvh(cell.output, this.run.shown)];
            download(`${cell.file || "motion"}.${kind}`, parts, "application/octet-stream");
          },
        },
        `.${kind}`,
      );
    return make(
      "figure",
      { class: "cell" },
      caption,
      cell.canvas,
      cell.file ? make("div", { class: "saves" }, save("npy"), save("bvh")) : null,
    );
  }

  orbit(canvas) {
    const turn = (across, down) => {
      this.camera.azimuth -= across;
      this.camera.elevation = Math.min(1.5, Math.max(-0.05, this.camera.elevation + down));
      this.draw();
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.held = [event.clientX, event.clientY];
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!this.held) return;
      turn((event.clientX - this.held[0]) * 0.01, event.pointerType === "touch" ? 0 : (event.clientY - this.held[1]) * 0.008);
      this.held = [event.clientX, event.clientY];
    });
    for (const end of ["pointerup", "pointercancel"])
      canvas.addEventListener(end, () => {
        this.held = null;
      });
    canvas.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: [-0.12, 0], ArrowRight: [0.12, 0], ArrowUp: [0, 0.08], ArrowDown: [0, -0.08] }[event.key];
      if (by) {
        turn(...by);
        event.preventDefault();
      }
      if (event.key === " ") {
        this.play(!this.playing);
        event.preventDefault();
      }
    });
  }

  // As another player of the same stands, whose pictures stay until there are these.
  goOnAs(other) {
    if (other === this) return;
    this.grid.replaceChildren(...other.grid.childNodes);
    if (!this.motion) return;
    Object.assign(this, { time: other.time, speed: other.speed, camera: other.camera });
    this.pace.value = this.speed;
    this.follow.checked = this.camera.follow;
    this.play(other.playing);
  }

  play(on) {
    this.playing = on;
    this.button.textContent = on ? "❚❚ Pause" : "▶ Play";
    this.last = null;
    this.tick();
  }

  tick() {
    if (!this.playing || !this.visible || this.waiting) return;
    this.waiting = requestAnimationFrame((now) => {
      this.waiting = null;
      const hold = this.run.shown.fps * 0.6,
        passed = this.last ? Math.min(now - this.last, 100) / 1000 : 0; // the last pose stays for a moment
      this.last = now;
      this.time += passed * this.run.shown.fps * this.speed;
      if (this.time > this.frames - 1 + hold * this.speed) this.time = 0;
      this.draw();
      this.tick();
    });
  }

  draw() {
    if (!this.motion || !this.frames) return;
    const time = Math.min(this.time, this.frames - 1);
    for (const cell of this.cells)
      if (cell.canvas?.clientWidth) drawFigure(cell.canvas, cell.scene, time, this.camera, this.run.shown, this.span);
    this.scrub.value = time;
    const seconds = `${(time / this.run.shown.fps).toFixed(1)} s`;
    this.scrub.setAttribute("aria-valuetext", seconds);
    this.clock.textContent = `${seconds} of ${((this.frames - 1) / this.run.shown.fps).toFixed(1)}`;
  }
}

const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
