/* Draws the figures that stand in the page as JSON (capacity/dashboards/charts.py), and one crosshair through all of them.
   A zoom asks the server for that stretch: the address always says what is shown. */
(() => {
  "use strict";
  const CONFIG = {
    responsive: false, // one ResizeObserver below does it
    displaylogo: false,
    showSendToCloud: false, // the library's default would offer to send data away
    plotlyServerURL: "",
    doubleClick: false,
    modeBarButtonsToRemove: ["lasso2d", "select2d", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "autoScale2d", "resetScale2d"],
    toImageButtonOptions: { format: "png", scale: 2 },
  };
  const PHONE_PX = 480;
  const PHONE_LEFT = 60; // as --plot-l and --plot-r in look.css
  const PHONE_RIGHT = 68;
  const shown = new Map(); // holder -> {start, end, left, right, top, inner, traces, zone}

  // --- Colours: names of CSS variables become what they mean now ----------------------------------------------------
  const probe = document.createElement("span");
  probe.hidden = true;
  let known = new Map();
  function colour(name) {
    if (known.has(name)) return known.get(name);
    if (!probe.isConnected) document.body.append(probe);
    probe.style.color = "";
    probe.style.color = name;
    let text = getComputedStyle(probe).color;
    const parts = text.match(/^color\(srgb ([\d.e-]+) ([\d.e-]+) ([\d.e-]+)(?: \/ ([\d.e-]+))?\)$/);
    if (parts) text = `rgba(${parts.slice(1, 4).map((part) => Math.round(255 * Number(part))).join(",")},${parts[4] ?? 1})`;
    known.set(name, text);
    return text;
  }
  function coloured(value) {
    if (typeof value === "string") return value.startsWith("var(--") ? colour(value) : value;
    if (Array.isArray(value)) return value.map(coloured);
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, coloured(each)]));
    return value;
  }

  // --- Drawing ------------------------------------------------------------------------------------------------------
  function numbers(packed) {
    const bytes = Uint8Array.from(atob(packed.bdata), (letter) => letter.charCodeAt(0));
    return packed.dtype === "f8" ? new Float64Array(bytes.buffer) : new Float32Array(bytes.buffer);
  }
  function forPhone(layout) {
    const meta = layout.meta;
    Object.assign(layout.margin, meta.margins ?? { l: PHONE_LEFT, r: PHONE_RIGHT });
    Object.assign(layout.xaxis, meta.phone);
    meta.short.forEach((text, i) => { layout.annotations[meta.guides + i].text = `<b>${text}</b>`; });
    layout.annotations = layout.annotations.filter((note) => note.name !== "wide");
    layout.annotations.filter((note) => note.name === "flag").forEach((note, i) => { note.text = meta.flags?.[i] ?? note.text; });
  }
  function draw(holder) {
    const source = document.getElementById(holder.dataset.figure);
    const canvas = holder.querySelector(".canvas");
    if (!source || !canvas || !canvas.clientWidth || !window.Plotly) return;
    const figure = coloured(JSON.parse(source.textContent));
    const layout = figure.layout;
    layout.width = canvas.clientWidth;
    layout.font.family = getComputedStyle(document.body).fontFamily;
    if (layout.width < PHONE_PX) forPhone(layout);
    remember(holder, figure);
    const fresh = !canvas.classList.contains("js-plotly-plot");
    window.Plotly.react(canvas, figure.data, layout, CONFIG);
    canvas.querySelectorAll(".main-svg").forEach((svg) => svg.setAttribute("aria-hidden", "true"));
    holder.classList.add("drawn");
    holder.dispatchEvent(new CustomEvent("headroom:drawn", { bubbles: true }));
    if (fresh) canvas.on("plotly_relayout", zoomed);
  }
  function remember(holder, { data, layout }) {
    const [start, end] = layout.xaxis.range;
    const { l, r, t, b } = layout.margin;
    shown.set(holder, {
      start, end, left: l, right: r, top: t, inner: layout.height - t - b, most: layout.yaxis.range[1],
      first: layout.meta.first, step: layout.meta.step, zone: layout.meta.zone, unit: layout.meta.unit, names: layout.meta.names,
      traces: data.filter((trace) => !trace.meta.band).map((trace) => ({
        name: trace.name, colour: trace.line?.color ?? trace.marker.color, values: numbers(trace.y),
      })),
    });
  }
  function zoomed(change) {
    const from = change["xaxis.range[0]"];
    const to = change["xaxis.range[1]"];
    if (from === undefined || to === undefined) return;
    if (to - from < 120) return drawAll(); // too short to ask for
    window.headroom.showRange(from, to);
  }
  const holders = () => [...document.querySelectorAll("[data-figure]")];
  function drawAll() {
    for (const holder of shown.keys()) if (!holder.isConnected) shown.delete(holder);
    for (const holder of holders()) { sizes.observe(holder); draw(holder); }
  }

  const widths = new WeakMap();
  const sizes = new ResizeObserver((entries) => {
    for (const { target, contentRect } of entries) {
      const width = Math.round(contentRect.width);
      if (widths.get(target) === width) continue;
      const before = widths.get(target);
      widths.set(target, width);
      if (before !== undefined && width > 0) draw(target);
    }
  });

  // --- One crosshair through all plots ------------------------------------------------------------------------------
  let at = null; // Unix seconds
  let leader = null; // the plot it leaves from

  function part(holder, name) {
    let node = holder.querySelector(`:scope > .${name}`);
    if (!node) {
      node = document.createElement("div");
      node.className = name;
      node.setAttribute("aria-hidden", "true");
      holder.append(node);
    }
    return node;
  }
  function words(value) {
    if (!Number.isFinite(value)) return "no data";
    const size = Math.abs(value);
    const decimals = size >= 100 || value === 0 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
    return value.toLocaleString("en", { maximumFractionDigits: decimals }).replace("-", "−");
  }
  function clock(seconds, plot) {
    if (plot.names) return plot.names[Math.round((seconds - plot.first) / plot.step)] ?? ""; // an axis that is no time
    const long = plot.end - plot.start > 86400;
    const options = plot.step >= 86400 ? { timeZone: plot.zone } // days have no hour
      : { timeZone: plot.zone, hour: "2-digit", minute: "2-digit", hour12: false, ...(plot.step < 60 && { second: "2-digit" }) };
    if (long) Object.assign(options, { weekday: "short", day: "numeric", month: "short" });
    return new Intl.DateTimeFormat("en-GB", options).format(new Date(seconds * 1000));
  }
  function values(plot) {
    const index = Math.round((at - plot.first) / plot.step);
    return plot.traces.map((trace) => ({ ...trace, value: index >= 0 && index < trace.values.length ? trace.values[index] : NaN }));
  }
  function place(holder) {
    const plot = shown.get(holder);
    const width = holder.clientWidth;
    const line = part(holder, "cross");
    const note = part(holder, "readout");
    if (at === null || at < plot.start || at > plot.end) {
      line.hidden = note.hidden = true;
      return "";
    }
    const index = Math.round((at - plot.first) / plot.step);
    const moment = plot.first + index * plot.step;
    const span = width - plot.left - plot.right;
    const x = plot.left + ((Math.min(Math.max(moment, plot.start), plot.end) - plot.start) / (plot.end - plot.start)) * span;
    const points = values(plot);
    line.hidden = note.hidden = false;
    line.style.left = `${x}px`;
    line.style.top = `${plot.top}px`;
    line.style.height = `${plot.inner}px`;
    line.replaceChildren(...points.filter((point) => Number.isFinite(point.value)).map((point) => {
      const dot = document.createElement("i");
      dot.style.top = `${plot.inner * (1 - point.value / plot.most)}px`;
      dot.style.background = point.colour;
      return dot;
    }));
    const unit = plot.unit ? ` ${plot.unit}` : "";
    const text = points.map((point) => `${point.name} ${words(point.value)}${Number.isFinite(point.value) ? unit : ""}`).join("  ");
    note.textContent = holder === leader ? `${clock(moment, plot)}  ${text}` : text;
    note.classList.toggle("left", x > width / 2);
    note.style.left = x > width / 2 ? "" : `${x + 6}px`;
    note.style.right = x > width / 2 ? `${width - x + 6}px` : "";
    return note.textContent;
  }
  function cross(seconds, holder) {
    at = seconds;
    leader = holder;
    let said = "";
    for (const each of shown.keys()) {
      if (!each.isConnected) continue;
      const text = place(each);
      if (each === holder) said = text;
    }
    return said;
  }
  function timeAt(event, holder) {
    const plot = shown.get(holder);
    const box = holder.getBoundingClientRect();
    const ratio = (event.clientX - box.left - plot.left) / (box.width - plot.left - plot.right);
    return ratio < 0 || ratio > 1 ? null : plot.start + ratio * (plot.end - plot.start);
  }
  const holderOf = (event) => (event.target instanceof Element ? event.target.closest("[data-figure].drawn") : null);

  document.addEventListener("pointermove", (event) => {
    const holder = holderOf(event);
    if (holder && shown.has(holder)) cross(timeAt(event, holder), holder);
    else if (at !== null && !document.activeElement?.matches("[data-figure]")) cross(null, null);
  }, { passive: true });
  document.addEventListener("dblclick", (event) => {
    if (holderOf(event)) document.querySelector("[data-zoom-out]")?.click();
  });
  document.addEventListener("keydown", (event) => {
    const holder = event.target instanceof Element && event.target.matches("[data-figure].drawn") ? event.target : null;
    if (!holder || event.ctrlKey || event.metaKey || event.altKey) return;
    const plot = shown.get(holder);
    const last = plot.first + plot.step * (plot.traces[0].values.length - 1);
    const steps = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (steps) at = Math.min(Math.max((at ?? last) + steps * plot.step * (event.shiftKey ? 10 : 1), plot.first), last);
    else if (event.key === "Home") at = Math.max(plot.first, plot.start);
    else if (event.key === "End") at = last;
    else if (event.key === "Escape") at = null;
    else return;
    event.preventDefault();
    const live = document.getElementById("chart-says");
    const said = cross(at, holder);
    if (live) live.textContent = said;
  });

  // --- When to draw -------------------------------------------------------------------------------------------------
  document.addEventListener("DOMContentLoaded", drawAll);
  document.addEventListener("htmx:afterSettle", drawAll);
  function redraw() { known = new Map(); drawAll(); }
  document.addEventListener("headroom:theme", redraw);
  matchMedia("print").addEventListener("change", redraw); // paper has its own width and is always light
  document.addEventListener("htmx:beforeCleanupElement", (event) => {
    const canvas = event.detail.elt;
    if (canvas instanceof Element && canvas.classList.contains("js-plotly-plot")) window.Plotly.purge(canvas);
  });
  window.headroomCharts = { CONFIG, shown };
})();
