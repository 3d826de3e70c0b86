// Taking things out of the page: files and copied lines.
function download(name, type, content) {
  const address = URL.createObjectURL(new Blob([content], { type }));
  make("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

// Rows as CSV; a cell that a spreadsheet would run as a formula is kept from running.
function csv(rows) {
  const cell = value => {
    const text = value === null || value === undefined ? "" : String(value);
    const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  return rows.map(row => row.map(cell).join(",")).join("\n") + "\n";
}

// The figure as a file of its own: what the style sheet says is written into each shape.
function standalone(svg) {
  const copy = svg.cloneNode(true);
  const shapes = [svg, ...svg.querySelectorAll("*")], copies = [copy, ...copy.querySelectorAll("*")];
  shapes.forEach((from, at) => {
    const style = getComputedStyle(from);
    for (const name of ["fill", "stroke", "stroke-width", "stroke-dasharray", "opacity"]) copies[at].setAttribute(name, style.getPropertyValue(name));
    if (from.tagName === "text") {
      for (const name of ["font-family", "font-size", "font-weight"]) copies[at].setAttribute(name, style.getPropertyValue(name));
    }
    if (from.matches(".cursor, .chosen, .band")) copies[at].remove();
    for (const name of ["class", "data-at", "tabindex"]) copies[at].removeAttribute(name);
  });
  const [, , width, height] = svg.getAttribute("viewBox").split(" ");
  const paper = getComputedStyle(document.documentElement).getPropertyValue("--card");
  copy.prepend(shape("rect", { width, height, fill: paper, stroke: "none" }));
  dress(copy, { xmlns: SVG, width, height }, []);
  return new XMLSerializer().serializeToString(copy);
}

function fileName(block) {
  const title = block.querySelector(".title").textContent;
  return title.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "");
}

// The buttons of a figure; `rows` gives its numbers as they are shown now.
function addSaves(block, rows) {
  const place = block.querySelector(".saves");
  if (block.querySelector(".canvas")) {
    place.append(make("button", { type: "button", class: "save-svg", title: "save this figure as SVG",
      click: () => download(`${fileName(block)}.svg`, "image/svg+xml", standalone(block.querySelector("svg.plot"))) }, "SVG"));
  }
  place.append(make("button", { type: "button", class: "save-csv", title: "save these numbers as CSV",
    click: () => download(`${fileName(block)}.csv`, "text/csv", csv(rows())) }, "CSV"));
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // a page inside a notebook may not use the clipboard, but may copy what is selected
    const area = make("textarea", { readonly: "" });
    area.value = text;
    button.after(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  const before = button.dataset.label ?? (button.dataset.label = button.textContent);
  button.textContent = "copied";
  setTimeout(() => { button.textContent = before; }, 1500);
}
