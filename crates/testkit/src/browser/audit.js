(() => {
  const faults = [];
  const short = (element) => element.outerHTML.replace(/\s+/g, " ").slice(0, 140);
  const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? "";
  if (!document.documentElement.lang) faults.push("no language");
  if (!document.title.trim()) faults.push("no title");
  if (!meta("viewport").includes("width=device-width")) faults.push("no viewport");
  if (meta("viewport").match(/user-scalable=no|maximum-scale/)) faults.push("it cannot be made larger");
  if (meta("description").length < 20) faults.push("no description");
  for (const image of document.querySelectorAll("img, video, iframe")) {
    if (!image.hasAttribute("width") || !image.hasAttribute("height")) faults.push(`a picture without a size: ${short(image)}`);
  }
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  const twice = ids.filter((id, index) => ids.indexOf(id) !== index);
  if (twice.length) faults.push(`ids that two things have: ${[...new Set(twice)].slice(0, 5).join(", ")}`);

  // Targets, as WCAG 2.5.8 has them: 24 pixels, or room for a circle of 24 pixels around the middle; a link in a sentence is free.
  const SIZE = 24;
  const isSeen = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && !element.closest(".hidden-text, .skip");
  const isInText = (element) => {
    if (getComputedStyle(element).display !== "inline") return false;
    const around = [...element.parentElement.childNodes].filter((node) => node !== element);
    return around.some((node) => node.nodeType === Node.TEXT_NODE && node.nodeValue.trim().length > 1);
  };
  const place = (element) => {
    // A box is as large as the label that it lies in.
    const area = (element.matches("input[type=checkbox], input[type=radio]") && element.closest("label")) || element;
    const box = area.getBoundingClientRect();
    return { element, left: box.left, top: box.top, right: box.right, bottom: box.bottom, width: box.width, height: box.height, x: (box.left + box.right) / 2, y: (box.top + box.bottom) / 2 };
  };
  // What lies behind a flyout cannot be reached.
  const within = document.querySelector("[aria-modal=true]") ?? document;
  const targets = [...within.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [role=button], [role=switch]")]
    .filter((element) => isSeen(element) && !element.disabled && !element.closest("svg") && !isInText(element)).map(place).filter((target) => target.width > 0);
  const isSmall = (target) => target.width < SIZE - 0.5 || target.height < SIZE - 0.5;
  const distance = (target, other) => isSmall(other)
    ? Math.hypot(target.x - other.x, target.y - other.y) - SIZE / 2
    : Math.hypot(Math.max(other.left - target.x, 0, target.x - other.right), Math.max(other.top - target.y, 0, target.y - other.bottom));
  const isCrowded = (target) => targets.some((other) => other !== target && !other.element.contains(target.element) && !target.element.contains(other.element) && distance(target, other) < SIZE / 2 - 0.5);
  for (const target of targets.filter((one) => isSmall(one) && isCrowded(one)).slice(0, 5)) faults.push(`a target of ${target.width.toFixed(0)} by ${target.height.toFixed(0)}: ${short(target.element)}`);

  // Letters on a phone.
  if (innerWidth < 720) {
    const letters = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    const small = new Set();
    while (letters.nextNode()) {
      const around = letters.currentNode.parentElement;
      if (!letters.currentNode.nodeValue.trim() || around.closest("script, style, noscript, svg") || !isSeen(around)) continue;
      if (parseFloat(getComputedStyle(around).fontSize) < 12) small.add(short(around));
    }
    for (const one of [...small].slice(0, 5)) faults.push(`letters below 12 pixels: ${one}`);
  }
  return faults;
})()
