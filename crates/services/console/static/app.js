// What pages do beyond links and forms; without it everything can still be read and sent.
"use strict";

const announce = (text) => { const area = document.getElementById("announce"); if (area) area.textContent = text; };

// Copy buttons: shown only where they can work.
function prepareCopyButtons(root) {
  for (const button of root.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const box = button.closest(".command, [data-copy-box]");
  const source = box.querySelector("[data-copy-source]");
  await navigator.clipboard.writeText(source.dataset.copyText ?? source.textContent);
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
