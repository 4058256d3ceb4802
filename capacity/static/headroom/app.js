/* The shell: theme, zone, freshness, auto refresh, keyboard, copy, toasts. No inline handlers, no eval. */
(() => {
  "use strict";
  const root = document.documentElement;
  const one = (selector, from = document) => from.querySelector(selector);
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];

  // --- Cookies the server reads, so that the first paint is right -------------------------------------------------
  function keep(name, value) {
    const secure = location.protocol === "https:" ? "; Secure" : "";
    document.cookie = `${name}=${encodeURIComponent(value)}; path=/; max-age=31536000; SameSite=Lax${secure}`;
  }
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  if (!document.cookie.includes(`zone=${encodeURIComponent(zone)}`)) keep("zone", zone);

  // --- Theme ------------------------------------------------------------------------------------------------------
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : systemDark.matches);
  function toggleTheme() {
    root.dataset.theme = isDark() ? "light" : "dark";
    keep("theme", root.dataset.theme);
    document.dispatchEvent(new CustomEvent("headroom:theme"));
  }
  systemDark.addEventListener("change", () => document.dispatchEvent(new CustomEvent("headroom:theme")));

  // --- Freshness: "updated 9 s ago", amber when older than three looks --------------------------------------------
  function ageWords(seconds) {
    if (seconds < 60) return `${Math.max(0, Math.round(seconds))} s`;
    if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
    return seconds < 172800 ? `${Math.floor(seconds / 3600)} h` : `${Math.floor(seconds / 86400)} days`;
  }
  function showAges() {
    for (const mark of all("[data-as-of]")) {
      const age = Date.now() / 1000 - Number(mark.dataset.asOf);
      mark.textContent = `${mark.dataset.word || "updated"} ${ageWords(age)} ago`;
      mark.classList.toggle("stale", age > Number(mark.dataset.staleAfter || 180));
    }
  }
  setInterval(showAges, 1000);

  // --- Refresh: the content only, never under a hand that uses it -------------------------------------------------
  const content = () => document.getElementById("content");
  function busy() {
    if (one("dialog[open]") || one("[popover]:popover-open")) return true;
    const active = document.activeElement;
    if (!active || active === document.body) return false;
    return Boolean(active.closest("#shell")) && active.matches("input, select, textarea, button, summary, [contenteditable]");
  }
  let lastRefresh = Date.now();
  function refresh() {
    lastRefresh = Date.now();
    if (!window.htmx || !content()) return location.reload();
    window.htmx.ajax("GET", location.href, { target: "#shell", select: "#shell", swap: "outerHTML" });
  }
  setInterval(() => {
    const every = Number(content()?.dataset.refresh || 0);
    if (!every || document.hidden || Date.now() - lastRefresh < every * 1000 || busy()) return;
    refresh();
  }, 1000);

  // --- A range chosen in a chart ----------------------------------------------------------------------------------
  function showRange(from, to) {
    const address = new URL(location.href);
    address.searchParams.set("from", String(Math.round(from * 1000)));
    address.searchParams.set("to", String(Math.round(to * 1000)));
    window.htmx.ajax("GET", address.href, { target: "#shell", select: "#shell", swap: "outerHTML" });
    history.pushState({ htmx: true }, "", address.href);
  }
  window.headroom = { refresh, showRange };

  // --- Folded panels stay open in the address ---------------------------------------------------------------------
  document.addEventListener("toggle", (event) => {
    const fold = event.target;
    if (!(fold instanceof HTMLDetailsElement) || !fold.dataset.fold) return;
    const address = new URL(location.href);
    const open = all("details[data-fold][open]").map((each) => each.dataset.fold);
    if (open.length) address.searchParams.set("open", open.join(","));
    else address.searchParams.delete("open");
    history.replaceState(history.state, "", address.href);
  }, true);

  // --- Keyboard ---------------------------------------------------------------------------------------------------
  let going = false;
  const inField = (target) => target instanceof Element && target.closest("input, select, textarea, [contenteditable]");
  function openHelp() { one("#help")?.showModal(); }
  function press(key) {
    if (going) {
      going = false;
      const link = all("[data-go]").find((each) => each.dataset.go === key);
      if (link) location.assign(link.href);
      return Boolean(link);
    }
    if (key === "g") { going = true; setTimeout(() => { going = false; }, 1500); return true; }
    if (key === "/") { one("#find")?.focus(); return true; }
    if (key === "?") { openHelp(); return true; }
    if (key === "t") { const menu = one("#time-menu"); menu?.togglePopover(); one("#time-from")?.focus(); return Boolean(menu); }
    if (key === "r") { refresh(); return true; }
    if (key === "[" || key === "]") { const link = one(`[data-shift="${key}"]`); link?.click(); return Boolean(link); }
    return false;
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || inField(event.target) || one("dialog[open]")) return;
    if (press(event.key)) event.preventDefault();
  });

  // --- Buttons ----------------------------------------------------------------------------------------------------
  async function copy(button) {
    const code = one("code, input", button.closest(".cmd, .copyable"));
    await navigator.clipboard.writeText(code.value ?? code.textContent.trim());
    const before = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = before; }, 2000);
  }
  document.addEventListener("click", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    if (!target) return;
    if (target.closest("[data-theme-toggle]")) toggleTheme();
    else if (target.closest("[data-help]")) openHelp();
    else if (target.closest("[data-copy]")) copy(target.closest("[data-copy]"));
    else if (target.closest("[data-dialog]")) one(target.closest("[data-dialog]").dataset.dialog)?.showModal();
    else if (target.closest("[data-close]")) target.closest("dialog")?.close();
    else if (target.closest(".toast-close")) target.closest(".toast").remove();
  });

  // --- Toasts: eight seconds, longer under the pointer or the focus; errors stay -----------------------------------
  function watchToast(toast) {
    if (toast.dataset.watched || toast.dataset.level === "error") return;
    toast.dataset.watched = "yes";
    const leave = () => (toast.matches(":hover, :focus-within") ? setTimeout(leave, 2000) : toast.remove());
    setTimeout(leave, 8000);
  }
  function toast(text, level = "info") {
    const box = document.createElement("div");
    box.className = "toast";
    box.dataset.level = level;
    const words = document.createElement("span");
    words.textContent = text;
    const close = document.createElement("button");
    close.type = "button";
    close.className = "toast-close";
    close.setAttribute("aria-label", "Close this message");
    close.textContent = "×";
    box.append(words, close);
    one("#toasts")?.append(box);
    watchToast(box);
  }
  window.headroom.toast = toast;

  // --- htmx -------------------------------------------------------------------------------------------------------
  document.addEventListener("htmx:configRequest", (event) => {
    if (event.detail.verb !== "get") event.detail.headers["X-CSRFToken"] = one('meta[name="csrf"]').content;
  });
  document.addEventListener("htmx:sendError", () => toast("The server does not answer; this page shows what it last said.", "error"));
  document.addEventListener("htmx:afterSettle", () => { lastRefresh = Date.now(); showAges(); });

  document.addEventListener("DOMContentLoaded", () => {
    showAges();
    all(".toast").forEach(watchToast);
  });
})();
