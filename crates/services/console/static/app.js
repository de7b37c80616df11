// What pages do beyond links and forms; without it everything can still be read and sent.
"use strict";

const announce = (text) => { const area = document.getElementById("announce"); if (area) area.textContent = text; };

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
  if (form) form.requestSubmit();
  const all = event.target.closest("[data-select-all]");
  if (all) for (const box of document.querySelectorAll("[data-select]")) box.checked = all.checked;
  if (event.target.closest("[data-select], [data-select-all]")) showSelection();
});

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

// A form that hurts asks first, in a dialog of the page.
document.addEventListener("submit", (event) => {
  const form = event.target;
  const dialog = form.dataset.confirm && document.getElementById(form.dataset.confirm);
  if (!dialog || form.dataset.confirmed) return;
  event.preventDefault();
  dialog.showModal();
  dialog.addEventListener("close", () => {
    if (dialog.returnValue !== "confirm") return;
    form.dataset.confirmed = "1";
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

// Keys: `/` searches, `g` and a letter goes, `Esc` closes.
const places = { a: "/app/fleet/agents", p: "/app/fleet/policies", t: "/app/fleet/enrollment-tokens", d: "/app/fleet/data-streams", s: "/app/fleet/settings", m: "/app/trust/map", e: "/app/explore", h: "/" };
let goes = false;
document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, textarea, select, [contenteditable]") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (goes) { goes = false; if (places[event.key]) location.href = places[event.key]; return; }
  if (event.key === "g") { goes = true; setTimeout(() => { goes = false; }, 1000); return; }
  if (event.key === "/") { const field = document.querySelector(".filters input[type=search], [data-hotkey='/']"); if (field) { event.preventDefault(); field.focus(); } }
});

document.addEventListener("DOMContentLoaded", () => {
  prepareCopyButtons(document);
  showSelection();
  const toast = document.querySelector("[data-toast]");
  if (toast) setTimeout(() => toast.remove(), 6000);
});
document.addEventListener("htmx:after:swap", () => prepareCopyButtons(document));
