"use strict";
// Charts, by Bokeh. Each is drawn when it comes near the screen or the page is to be printed, and again when the theme changes.

const drawn = new Map(); // by a chart's element its document, which Bokeh keeps until told otherwise

// series: [{name, x, y, colour, points, line, low, high, labels}]; y may hold null, low and high make a band.
// bands: [{low, high, colour}] and spans: [{at, colour}] across the whole chart; quiet: its axes have no names.
function chart({ label, series, x = "iteration", y = "", height = 190, bands = [], ticks = true, quiet = false, spans = [] }) {
  const host = make("div", { class: "chart", role: "img", "aria-label": label, style: `height:${height}px` });
  const draw = async () => {
    drop((each) => each === host || !each.isConnected);
    const made = new Bokeh.Document({ roots: [plot({ series, x, y, height, bands, ticks, quiet, spans })] });
    const within = make("div"); // Bokeh does not let go of it: through the host it would hold the page of before
    host.replaceChildren(within);
    drawn.set(host, made);
    try {
      await Bokeh.Plotting.show(made, within);
    } catch (error) {
      console.error(error);
      host.replaceChildren(empty("This chart could not be drawn."));
    }
  };
  host.draw = () => (host.painted = Promise.resolve(host.painted).then(draw)); // one after the other
  nearby.observe(host);
  return host;
}

const nearby = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting) painted(target);
  },
  { rootMargin: "300px" },
);

// A promise that the chart is there.
function painted(host) {
  nearby.unobserve(host);
  return host.painted ?? host.draw();
}

function drop(which) {
  for (const [host, made] of drawn) {
    if (!which(host)) continue;
    drawn.delete(host);
    Bokeh.documents.splice(Bokeh.documents.indexOf(made), 1);
    made.views_manager?.clear();
    host.replaceChildren();
  }
}

function redrawCharts() {
  for (const host of document.querySelectorAll(".chart")) if (host.painted) host.draw();
}

function plot({ series, x, y, height, bands, ticks, quiet, spans }) {
  const ink = colour("faint"),
    line = colour("line");
  const bare = { background_fill_color: null, border_fill_color: null, outline_line_color: null };
  const figure = Bokeh.Plotting.figure({
    height,
    sizing_mode: "stretch_width",
    toolbar_location: null,
    tools: [],
    min_border: 4,
    x_axis_label: quiet ? null : x,
    y_axis_label: y || null,
    ...bare,
  });
  for (const axis of [...figure.below, ...figure.left]) {
    axis.setv({
      axis_label_text_color: ink,
      axis_label_text_font: "sans-serif", // of the page; the library's own falls back to one with serifs in Firefox
      axis_label_text_font_style: "normal",
      axis_label_text_font_size: "11px",
      major_label_text_color: ink,
      major_label_text_font: "sans-serif",
      major_label_text_font_size: "11px",
      axis_line_color: line,
      major_tick_line_color: line,
      minor_tick_line_color: null,
    });
  }
  for (const grid of figure.center) grid.setv({ grid_line_color: line, grid_line_alpha: grid.dimension === 0 ? 0 : 0.7 });
  if (ticks && /^(iteration|trained step|token)/.test(x)) figure.below[0].ticker.setv({ min_interval: 1 });
  for (const { low, high, colour: fill } of bands) {
    figure.add_layout(
      new Bokeh.BoxAnnotation({ bottom: low, top: high, fill_color: colour(fill), fill_alpha: 0.13, line_color: null, level: "underlay" }),
    );
  }
  for (const { at, colour: tone } of spans) {
    figure.add_layout(new Bokeh.Span({ location: at, dimension: "width", line_color: colour(tone), line_dash: "dashed", line_width: 1.5 }));
  }
  for (const each of series) draw1(figure, each, x, y);
  return figure;
}

function draw1(figure, { name, x, y, colour: tone, points, line = true, low, high, labels, dash = "solid", width = 2 }, xLabel, yLabel) {
  const paint = colour(tone),
    NaNs = (values) => Float64Array.from(values, (value) => value ?? NaN);
  const data = { x, y: NaNs(y), ...(low ? { low: NaNs(low), high: NaNs(high) } : {}), ...(labels ? { labels } : {}) };
  const source = new Bokeh.ColumnDataSource({ data });
  const at = { x: { field: "x" }, source };
  if (low) figure.varea({ ...at, y1: { field: "low" }, y2: { field: "high" }, fill_color: paint, fill_alpha: 0.15 });
  if (line) figure.line({ ...at, y: { field: "y" }, line_color: paint, line_width: width, line_dash: dash });
  const size = points ? 8 : x.length < 3 ? 7 : 0;
  const dots = figure.scatter({
    ...at,
    y: { field: "y" },
    size: size || 9,
    fill_color: paint,
    line_color: null,
    fill_alpha: size ? 0.9 : 0,
    hover_fill_alpha: 0.9,
    hover_fill_color: paint,
    hover_line_color: null,
  });
  const tips = [
    [xLabel, labels ? "@labels" : "@x{0.[0000]}"],
    [name || yLabel || "value", "@y{0.[00000]}"],
  ];
  figure.add_tools(new Bokeh.HoverTool({ tooltips: tips, renderers: [dots], mode: labels ? "mouse" : "vline" }));
}
