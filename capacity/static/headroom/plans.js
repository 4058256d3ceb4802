/* The time axis of a plan: a click below it opens the form of an event at that day, a drag moves an event. Each has a way by keyboard:
   the link "Add event", and the arrow keys on an event's handle. No inline handlers, no eval. */
(() => {
  "use strict";
  const DAY = 86400;
  const MOVED_PX = 4;
  const one = (selector, from = document) => from.querySelector(selector);
  const dayOf = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 10);
  const words = (seconds) => new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", weekday: "short", day: "numeric", month: "short" }).format(new Date(seconds * 1000));
  const plotOf = (holder) => window.headroomCharts.shown.get(holder);

  function xOf(seconds, plot, holder) {
    return plot.left + ((seconds - plot.start) / (plot.end - plot.start)) * (holder.clientWidth - plot.left - plot.right);
  }
  function dayAt(clientX, plot, holder) {
    const ratio = (clientX - holder.getBoundingClientRect().left - plot.left) / (holder.clientWidth - plot.left - plot.right);
    const at = plot.start + Math.min(Math.max(ratio, 0), 1) * (plot.end - plot.start);
    return Math.floor(at / DAY) * DAY;
  }
  const today = () => Math.floor(Date.now() / 1000 / DAY) * DAY;

  // --- The strip below the axis -------------------------------------------------------------------------------------
  function strip(holder, plot) {
    let bar = one(":scope > .axis-strip", holder);
    if (!bar) {
      bar = document.createElement("div");
      bar.className = "axis-strip";
      bar.setAttribute("aria-hidden", "true"); // the link "Add event" is the way by keyboard
      bar.append(document.createElement("span"));
      holder.append(bar);
    }
    bar.style.left = `${plot.left}px`;
    bar.style.right = `${plot.right}px`;
    bar.style.top = `${plot.top + plot.inner}px`;
  }
  function stripMove(event) {
    const bar = event.target.closest?.(".axis-strip");
    if (!bar) return;
    const holder = bar.closest("[data-figure]");
    const plot = plotOf(holder);
    if (!plot) return;
    const at = dayAt(event.clientX, plot, holder);
    const label = one("span", bar);
    label.textContent = at < today() ? "" : `add an event on ${words(at)}`;
    label.style.left = `${Math.min(Math.max(event.clientX - bar.getBoundingClientRect().left, 70), bar.clientWidth - 70)}px`;
  }
  function stripClick(event) {
    const bar = event.target.closest?.(".axis-strip");
    if (!bar) return;
    const holder = bar.closest("[data-figure]");
    const at = dayAt(event.clientX, plotOf(holder), holder);
    if (at < today()) return;
    location.assign(`${holder.dataset.axisUrl}&at=${dayOf(at)}`);
  }

  // --- Handles of events --------------------------------------------------------------------------------------------
  let held = null; // {handle, holder, plot, from, at, moved}

  function handles(holder, plot) {
    const list = one(`ul[data-for="${holder.dataset.figure}"]`);
    if (!list) return;
    holder.append(list);
    for (const item of list.children) {
      let handle = one("a", item);
      if (!handle) {
        handle = document.createElement("a");
        handle.className = "event-handle";
        handle.draggable = false;
        handle.href = item.dataset.url || "#assumptions";
        handle.append(document.createElement("span"));
        item.append(handle);
      }
      place(handle, Number(item.dataset.at), plot, holder);
    }
  }
  function place(handle, at, plot, holder) {
    const item = handle.parentElement;
    handle.hidden = at < plot.start || at > plot.end;
    handle.style.left = `${xOf(at, plot, holder)}px`;
    handle.style.top = `${plot.top + plot.inner}px`;
    handle.setAttribute("aria-label", `${item.dataset.title}, ${words(at)}. Arrow keys move it, Enter keeps the new day, or opens it.`);
    one("span", handle).textContent = at === Number(item.dataset.at) ? "" : words(at);
  }
  function shift(at) {
    held.at = Math.max(at, today());
    held.moved = Math.floor(held.at / DAY) !== Math.floor(held.from / DAY);
    place(held.handle, held.at, held.plot, held.holder);
  }
  function commit() {
    const { key } = held.handle.parentElement.dataset;
    const day = dayOf(held.at);
    if (key.startsWith("a")) return commitAddress(Number(key.slice(1)), day);
    const form = one("#move-event");
    form.action = `/planned-events/${key}/move/`;
    one("[name=day]", form).value = day;
    form.requestSubmit();
  }
  function commitAddress(index, day) {
    const address = new URL(location.href);
    const events = address.searchParams.getAll("event");
    const parts = events[index].split("~");
    const start = Date.parse(`${parts[1]}Z`);
    const moved = Date.parse(`${day}T${parts[1].slice(11) || "00:00"}Z`);
    if (parts[2]) parts[2] = new Date(Date.parse(`${parts[2]}Z`) + moved - start).toISOString().slice(0, 16);
    parts[1] = new Date(moved).toISOString().slice(0, 16);
    events[index] = parts.join("~");
    address.searchParams.delete("event");
    events.forEach((each) => address.searchParams.append("event", each));
    location.assign(address.href);
  }
  function take(handle) {
    const holder = handle.closest("[data-figure]");
    const from = Number(handle.parentElement.dataset.at);
    if (held?.handle !== handle) held = { handle, holder, plot: plotOf(holder), from, at: from, moved: false };
  }
  document.addEventListener("pointerdown", (event) => {
    const handle = event.target.closest?.(".event-handle");
    if (!handle || event.button !== 0) return;
    take(handle);
    held.x = event.clientX;
    held.dragging = true;
    handle.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  document.addEventListener("pointermove", (event) => {
    stripMove(event);
    if (!held?.dragging || Math.abs(event.clientX - held.x) < MOVED_PX) return;
    held.dragged = true;
    shift(dayAt(event.clientX, held.plot, held.holder) + (held.from % DAY));
  });
  document.addEventListener("pointerup", () => {
    if (!held?.dragging) return;
    held.dragging = false;
    if (held.dragged && held.moved) commit();
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest?.(".event-handle") && held?.dragged) { event.preventDefault(); held.dragged = false; }
    stripClick(event);
  });
  document.addEventListener("keydown", (event) => {
    const handle = event.target.closest?.(".event-handle");
    if (!handle) return;
    const step = { ArrowLeft: -DAY, ArrowRight: DAY }[event.key];
    if (step) { take(handle); shift(held.at + step * (event.shiftKey ? 7 : 1)); }
    else if (event.key === "Escape" && held) { place(held.handle, held.from, held.plot, held.holder); held = null; }
    else if (event.key === "Enter" && held?.handle === handle && held.moved) commit();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }, true);

  document.addEventListener("headroom:drawn", (event) => {
    const holder = event.target;
    const plot = plotOf(holder);
    if (!plot || !holder.dataset.axisUrl) return;
    strip(holder, plot);
    handles(holder, plot);
  });
})();
