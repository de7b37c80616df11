// What pages do beyond links and forms; without it everything can still be read and sent.
"use strict";

const announce = (text) => { const area = document.getElementById("announce"); if (area) area.textContent = text; };

// What changes by itself is said in short, at most once in five seconds.
const SAY_EVERY = 5000;
const known = new Map(), unsaid = new Map();
let lastSaid = 0, saying;
function hear() {
  for (const part of document.querySelectorAll("[data-heard]")) {
    const text = part.dataset.heard;
    if (text && known.has(part.id) && known.get(part.id) !== text) unsaid.set(part.id, text);
    known.set(part.id, text);
  }
  if (unsaid.size === 0 || saying) return;
  saying = setTimeout(() => {
    announce([...unsaid.values()].join(". "));
    unsaid.clear();
    saying = 0;
    lastSaid = Date.now();
  }, Math.max(0, SAY_EVERY - (Date.now() - lastSaid)));
}

// Copy buttons: shown only where they can work.
function prepareCopyButtons(root) {
  for (const field of root.querySelectorAll("[data-find]")) field.hidden = false;
  for (const button of root.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const box = button.closest(".command, [data-copy-box]");
  const source = box.querySelector("[data-copy-source]");
  const link = source.dataset.copyLink && new URL(source.dataset.copyLink, location.href).href;
  await navigator.clipboard.writeText(link ?? source.dataset.copyText ?? source.textContent);
  const label = button.querySelector("span") ?? button;
  const before = label.textContent;
  label.textContent = "Copied";
  announce("Copied");
  setTimeout(() => { label.textContent = before; }, 2000);
});

// Chips and selects that apply at once.
document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-auto-submit]");
  const picker = event.target.closest(".picker");
  if (picker) picker.dataset.picked = "1";
  else if (form) form.requestSubmit();
  const all = event.target.closest("[data-select-all]");
  if (all) for (const box of document.querySelectorAll("[data-select]")) box.checked = all.checked;
  if (event.target.closest("[data-select], [data-select-all]")) showSelection();
});

// A menu of several choices applies them when it closes; a click beside it and Esc close it, as every menu.
document.addEventListener("toggle", (event) => {
  const menu = event.target;
  if (!menu.matches?.("details.menu")) return;
  if (menu.open) for (const other of document.querySelectorAll("details.menu[open]")) { if (other !== menu) other.open = false; }
  if (!menu.open && menu.dataset.picked) menu.closest("form")?.requestSubmit();
}, true);
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});
document.addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" && event.target.closest?.("details.menu[open]");
  if (menu) { menu.open = false; menu.querySelector("summary").focus(); event.stopPropagation(); }
});

// A list that renews itself keeps what was selected.
const selection = new Set();
document.addEventListener("change", (event) => {
  if (!event.target.closest("[data-select], [data-select-all]")) return;
  for (const box of document.querySelectorAll("[data-select]")) { if (box.checked) selection.add(box.value); else selection.delete(box.value); }
});
function restoreSelection() {
  for (const box of document.querySelectorAll("[data-select]")) box.checked = selection.has(box.value);
  showSelection();
}

function showSelection() {
  const chosen = document.querySelectorAll("[data-select]:checked").length;
  const all = document.querySelectorAll("[data-select]").length;
  const head = document.querySelector("[data-select-all]");
  if (head) { head.checked = chosen > 0 && chosen === all; head.indeterminate = chosen > 0 && chosen < all; }
  const bar = document.querySelector("[data-bulk]");
  if (!bar) return;
  bar.hidden = chosen === 0;
  bar.querySelector("[data-bulk-count]").textContent = String(chosen);
}

// A form that hurts asks first: in a dialog of the page, and without script on a page of its own.
document.addEventListener("submit", (event) => {
  const form = event.target;
  const dialog = form.dataset.confirm && document.getElementById(form.dataset.confirm);
  if (!dialog || form.dataset.confirmed) return;
  event.preventDefault();
  dialog.showModal();
  dialog.addEventListener("close", () => {
    if (dialog.returnValue !== "confirm") return;
    form.dataset.confirmed = "1";
    for (const field of form.querySelectorAll("[data-asks-first]")) field.disabled = true;
    form.requestSubmit(event.submitter ?? undefined);
  }, { once: true });
});

// Suggestions of a search bar: a list under it, walked with the arrows, taken with Enter or Tab.
let asked = 0;
async function suggest(field) {
  const box = field.closest("[data-suggest]");
  const list = box.querySelector("[role=listbox]");
  const question = new URLSearchParams(new FormData(field.form));
  question.set("q", field.value.slice(0, field.selectionStart));
  const mine = ++asked;
  const answer = await fetch(`${box.dataset.suggest}?${question}`, { headers: { accept: "text/html" } }).catch(() => null);
  if (!answer?.ok || mine !== asked || document.activeElement !== field) return;
  // Our own server's markup, escaped there.
  list.innerHTML = await answer.text();
  offer(field, list.childElementCount > 0);
}
function offer(field, open) {
  field.closest("[data-suggest]").querySelector("[role=listbox]").hidden = !open;
  field.setAttribute("aria-expanded", String(open));
  if (!open) { asked++; field.removeAttribute("aria-activedescendant"); }
}
function take(field, option) {
  const rest = field.value.slice(field.selectionStart);
  field.value = option.dataset.text + rest.trimStart();
  field.setSelectionRange(option.dataset.text.length, option.dataset.text.length);
  field.focus();
  suggest(field);
}
let waiting;
document.addEventListener("input", (event) => {
  if (event.target.closest("[data-suggest]")) { const field = event.target; clearTimeout(waiting); waiting = setTimeout(() => suggest(field), 120); }
  const find = event.target.closest("[data-find]");
  if (find) for (const item of document.querySelectorAll(`${find.dataset.find} [data-name]`)) item.hidden = !item.dataset.name.includes(find.value.trim().toLowerCase());
});
document.addEventListener("focusin", (event) => { if (event.target.matches("[data-suggest] input") && !event.target.value) suggest(event.target); });
document.addEventListener("focusout", (event) => { if (event.target.matches("[data-suggest] input") && !event.target.closest("[data-suggest]").contains(event.relatedTarget)) offer(event.target, false); });
document.addEventListener("mousedown", (event) => {
  const option = event.target.closest("[data-suggest] [role=option]");
  if (option) { event.preventDefault(); take(option.closest("[data-suggest]").querySelector("input"), option); }
});
document.addEventListener("keydown", (event) => {
  if (!event.target.matches?.("[data-suggest] input")) return;
  const list = event.target.closest("[data-suggest]").querySelector("[role=listbox]");
  if (list.hidden) { if (event.key === "ArrowDown") { event.preventDefault(); suggest(event.target); } return; }
  const options = [...list.children];
  const at = options.findIndex((option) => option.getAttribute("aria-selected") === "true");
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) {
    event.preventDefault();
    const next = options[(at + step + options.length + (at < 0 && step < 0 ? 1 : 0)) % options.length];
    for (const option of options) option.setAttribute("aria-selected", String(option === next));
    event.target.setAttribute("aria-activedescendant", next.id);
  } else if ((event.key === "Enter" || event.key === "Tab") && at >= 0) { event.preventDefault(); take(event.target, options[at]); }
  else if (event.key === "Escape") { event.preventDefault(); offer(event.target, false); }
});

// Forms that are checked while they are filled in: the server answers the whole page, its live parts take the place of ours.
let checks = 0;
async function checkForm(form) {
  const data = new FormData(form);
  data.set("step", "check");
  const files = [...form.querySelectorAll("input[type=file]")];
  const withFiles = files.some((field) => field.files.length > 0);
  if (!withFiles) for (const field of files) data.delete(field.name);
  const mine = ++checks;
  const answer = await fetch(form.action, { method: "POST", body: data }).catch(() => null);
  if (!answer?.ok || answer.redirected) return;
  const text = await answer.text().catch(() => null);
  // The answer to what stood there before says nothing about what stands there now.
  if (text === null || mine !== checks || !form.isConnected) return;
  const fresh = new DOMParser().parseFromString(text, "text/html");
  if (withFiles) {
    const body = fresh.querySelector("[data-form-body]");
    if (body) { const before = chosen(form); form.querySelector("[data-form-body]").innerHTML = body.innerHTML; prepareForms(); chooseAgain(form, before); }
  }
  for (const part of fresh.querySelectorAll("[data-live][id]")) {
    const ours = document.getElementById(part.id);
    if (ours) ours.innerHTML = part.innerHTML;
  }
}

// A chosen file that brought nothing, such as a p12 whose password is still missing, stays chosen.
const brought = (form, name) => [...form.querySelectorAll(`textarea[name="${name}"]`)].map((area) => area.value).join();
const password = (form, name) => form.querySelector(`[name="${name}.passphrase"]`);
function chosen(form) {
  const files = [...form.querySelectorAll("input[type=file]")].filter((field) => field.files.length > 0);
  return files.map((field) => { const name = field.name.slice(0, -5); return { field, name, text: brought(form, name), word: password(form, name)?.value }; });
}
function chooseAgain(form, before) {
  for (const { field, name, text, word } of before) {
    const now = form.querySelector(`input[type=file][name="${field.name}"]`);
    if (!now || brought(form, name) !== text) continue;
    now.files = field.files;
    const place = password(form, name);
    if (place) { place.value = word; if (!word) place.focus(); }
  }
}

// What is unchanged cannot be saved.
const saver = (form) => form.querySelector("[data-save]");
function hasChanged(form) {
  form.dataset.changed = "1";
  const save = saver(form);
  if (save) save.disabled = false;
}
for (const kind of ["input", "change"]) document.addEventListener(kind, (event) => {
  const form = event.target.closest("form");
  if (form && saver(form)) hasChanged(form);
});
document.addEventListener("click", (event) => { const form = event.target.closest("[data-add-row]")?.closest("form"); if (form && saver(form)) hasChanged(form); });

let checkTimer;
document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-form]");
  if (!form) return;
  hasChanged(form);
  showGroups(form);
  clearTimeout(checkTimer);
  checkTimer = setTimeout(() => checkForm(form), 150);
});

// Groups that belong to a choice.
function showGroups(form) {
  for (const group of form.querySelectorAll("[data-when]")) {
    const [name, wanted] = group.dataset.when.split("=");
    if (!wanted) continue;
    const field = form.querySelector(`[name="${name}"]:checked, select[name="${name}"]`);
    group.toggleAttribute("data-hidden", !wanted.split("|").includes(field?.value ?? ""));
  }
}

function prepareForms() {
  document.documentElement.classList.add("scripted");
  for (const form of document.querySelectorAll("form[data-form]")) showGroups(form);
  for (const button of document.querySelectorAll("[data-add-row]")) button.hidden = false;
  for (const button of document.querySelectorAll("[data-save]")) { const form = button.form; if (form) { if (button.hasAttribute("data-sent")) form.dataset.changed = "1"; button.disabled = !form.dataset.changed; } }
}

document.addEventListener("click", (event) => {
  const add = event.target.closest("[data-add-row]");
  if (add) {
    const last = [...add.parentElement.querySelectorAll("input, textarea")].pop();
    const row = last.cloneNode();
    row.value = ""; row.removeAttribute("aria-invalid"); row.id = `${last.id}-more`;
    add.before(row); row.focus();
  }
  const back = event.target.closest("[data-back]");
  if (back) { event.preventDefault(); back.closest("[data-asks]").remove(); }
});

// Files are dropped on the field that they are for: the same as choosing them.
const dropPlace = (event) => event.target.closest?.("form[data-form] .field textarea.drop");
document.addEventListener("dragover", (event) => {
  const place = dropPlace(event);
  if (!place || !event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  place.classList.add("over");
});
document.addEventListener("dragleave", (event) => dropPlace(event)?.classList.remove("over"));
document.addEventListener("drop", (event) => {
  const place = dropPlace(event);
  const files = event.dataTransfer?.files;
  if (!place || !files?.length) return;
  event.preventDefault();
  place.classList.remove("over");
  const chooser = place.closest(".field").querySelector("input[type=file]");
  chooser.files = files;
  chooser.dispatchEvent(new Event("change", { bubbles: true }));
});

// A flyout closes by Esc, keeps the focus inside, and asks before changes are lost.
document.addEventListener("keydown", (event) => {
  const form = document.querySelector("form[data-form][data-close]");
  if (!form) return;
  if (event.key === "Escape") {
    const asks = form.querySelector("[data-asks]");
    if (asks) asks.remove(); else location.href = form.dataset.close;
  }
  if (event.key !== "Tab") return;
  const inside = form.querySelector("[data-asks]") ?? form;
  const all = [...inside.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary")].filter((element) => element.checkVisibility() && !element.disabled);
  if (all.length === 0) return;
  const [first, last] = [all[0], all[all.length - 1]];
  if (!inside.contains(document.activeElement) || event.shiftKey && document.activeElement === first) { event.preventDefault(); (event.shiftKey ? last : first).focus(); }
  else if (!event.shiftKey && document.activeElement === last) { event.preventDefault(); first.focus(); }
});
window.addEventListener("beforeunload", (event) => {
  const form = document.querySelector("form[data-form][data-changed]");
  if (form && !form.dataset.sent) event.preventDefault();
});
document.addEventListener("submit", (event) => { event.target.dataset.sent = "1"; });

// What is still being fetched when the page goes is given up in silence; it would be told as a mistake.
let leaving = false;
window.addEventListener("beforeunload", (event) => {
  if (event.defaultPrevented) return;
  leaving = true;
  setTimeout(() => { leaving = false; }, 5000);
  for (const part of document.querySelectorAll("[hx-get], [data-htmx-powered]")) part.dispatchEvent(new Event("htmx:abort"));
});
document.addEventListener("htmx:before:request", (event) => { if (leaving) event.preventDefault(); });

// Keys: `/` searches, `g` and a letter goes, `Esc` closes.
const places = { a: "/app/fleet/agents", p: "/app/fleet/policies", i: "/app/fleet/packages", t: "/app/fleet/enrollment-tokens", d: "/app/fleet/data-streams", s: "/app/fleet/settings", m: "/app/trust/map", c: "/app/trust/certificates", e: "/app/explore", o: "/app/hosts", l: "/app/audit", h: "/" };
let goes = false;
document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, textarea, select, [contenteditable]") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (goes) { goes = false; if (places[event.key]) location.href = places[event.key]; return; }
  if (event.key === "g") { goes = true; setTimeout(() => { goes = false; }, 1000); return; }
  if (event.key === "j") walk(1);
  if (event.key === "k") walk(-1);
  if (event.key === "?") { const help = document.getElementById("keys"); if (help && !help.open) help.showModal(); }
  if (event.key === "/") { const field = document.querySelector(".filters input[type=search]") ?? document.querySelector("[data-hotkey='/']"); if (field) { event.preventDefault(); field.focus(); } }
});

// Live parts: the server names what has changed, and the parts that show it fetch themselves. Without its stream they ask
// now and then. A part that somebody works in waits.
const ASK_EVERY = 5000;
const late = new Set();
function isBusy(part) {
  const inside = document.activeElement;
  return (part.contains(inside) && inside.matches("input, select, textarea")) || part.querySelector("details.menu[open], dialog[open]");
}
function wake(topics) {
  for (const topic of topics) late.add(topic);
  if (document.hidden) return;
  for (const part of document.querySelectorAll("[data-live]")) {
    const wanted = part.dataset.live.split(" ").some((topic) => late.has(topic));
    if (wanted && !isBusy(part)) part.dispatchEvent(new Event("live"));
  }
  late.clear();
}
const ALL_TOPICS = ["agents", "data", "changes"];
function showLive(is) {
  for (const sign of document.querySelectorAll("[data-live-state]")) {
    sign.hidden = false;
    sign.classList.toggle("lost", !is);
    sign.textContent = is ? "Live" : "Reconnecting";
  }
}
let stream, isLive = false, lastWake = 0, soon;
function wakeSoon(topic) {
  late.add(topic);
  clearTimeout(soon);
  soon = setTimeout(() => { lastWake = Date.now(); wake([]); }, Math.max(0, 1000 - (Date.now() - lastWake)));
}
function listen() {
  const opened = stream = new EventSource("/events");
  stream.addEventListener("hello", () => { isLive = true; showLive(true); });
  for (const topic of ALL_TOPICS) stream.addEventListener(topic, () => wakeSoon(topic));
  stream.onerror = () => {
    isLive = false;
    showLive(false);
    if (opened.readyState === EventSource.CLOSED) setTimeout(() => { if (stream === opened) listen(); }, ASK_EVERY);
  };
}
// Parts that are live come and go with what is swapped in, such as a search that is followed from now on.
function listenWhereLive() {
  const isWanted = document.querySelector("[data-live]") !== null;
  if (isWanted && !stream) listen();
  if (!isWanted && stream) { stream.close(); stream = undefined; isLive = false; }
}
document.addEventListener("visibilitychange", () => wake([]));

// Rows by keyboard: `j` and `k` walk, `Enter` opens what has the focus.
function walk(step) {
  const rows = [...document.querySelectorAll("[data-row] [data-row-open]")].filter((row) => row.checkVisibility());
  const at = rows.findIndex((row) => row === document.activeElement);
  rows[Math.max(0, Math.min(rows.length - 1, at + step))]?.focus();
}

document.addEventListener("DOMContentLoaded", () => {
  listenWhereLive();
  setInterval(() => { if (stream && !isLive) wake(ALL_TOPICS); }, ASK_EVERY);
  prepareCopyButtons(document);
  prepareForms();
  hear();
  // The browser itself goes where a page says that it begins.
  if (!document.querySelector("[autofocus]")) document.querySelector(".flyout [aria-invalid], .flyout .input")?.focus();
  showSelection();
  const toast = document.querySelector("[data-toast]");
  if (toast) fade(toast);
});
// A toast goes after a while, but not while somebody reads it.
function fade(toast) {
  let timer;
  const wait = () => { clearTimeout(timer); timer = setTimeout(() => toast.remove(), 6000); };
  for (const kind of ["mouseenter", "focusin"]) toast.addEventListener(kind, () => clearTimeout(timer));
  for (const kind of ["mouseleave", "focusout"]) toast.addEventListener(kind, wait);
  wait();
}
document.addEventListener("htmx:after:swap", () => { prepareCopyButtons(document); restoreSelection(); hear(); if (stream) showLive(isLive); listenWhereLive(); });
