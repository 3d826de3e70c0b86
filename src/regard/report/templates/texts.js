// Texts and images coloured by what their tokens receive, by the size of their residuals, or by one head.
const LONG_RUN = 4;

kinds.texts = (block, data) => {
  const set = DATA.heads[data.heads], examples = data.examples.map(at => DATA.examples[at]);
  const place = block.querySelector(".example"), tools = block.querySelector(".tools"), note = block.querySelector(".scale-note");
  let example = examples[0], by = "received", layer = "mean", shown = [];
  if (examples.length > 1) {
    tools.append(choose("example", examples.map((each, at) => [at, each.title]), at => { example = examples[at]; build(); draw(); }));
  }
  const way = choose("coloured by", [["received", "attention received"], ["norms", "size of the residual"], ["head", "one head"]], chosen => {
    by = chosen;
    if (by === "head" && state.head?.[0] !== set) state.head = [set, 0, 0];
    draw();
  });
  const depth = choose("at", [["mean", "all layers (mean)"], ...set.layers.map((each, row) => [row, `layer ${each + 1} (L${each})`])], chosen => {
    layer = chosen;
    draw();
  });
  tools.append(way, depth);
  addSaves(block, () => [["position", "token", "segment", by], ...valuesOf().map((value, at) => [at, textOf(example, at), example.segments[at], value])]);

  // Colouring by a head is for the text that its card was made from.
  block.addEventListener("colour", () => {
    by = "head";
    if (!cardExample()) return;
    if (example !== cardExample()) { example = cardExample(); tools.querySelector("select").value = examples.indexOf(example); build(); }
    draw();
    block.scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth", block: "start" });
  });

  function cardExample() {
    return set.cards ? examples.find(each => each === DATA.examples[set.cards.keyText]) : undefined;
  }

  function valuesOf() {
    const tokens = example.pieces.length;
    if (by === "head") return binsOf(set, state.head[1], state.head[2], tokens);
    const packed = by === "norms" ? example.norms : example.received, scale = by === "norms" ? example.normScale : example.scale;
    const values = unpack(packed), rows = layer === "mean" ? [...scale.keys()] : [Number(layer)];
    return Array.from({ length: tokens }, (_, at) => rows.reduce((sum, row) => sum + values[row * tokens + at] * scale[row] / 255, 0) / rows.length);
  }

  function build() {
    shown = [];
    place.replaceChildren();
    if (example.grid || example.image) place.append(pictureOf(example, shown));
    if (example.kind === "text" || !example.grid) place.append(textElement(example, shown));
    if (example.truncated) place.append(make("p", { class: "quiet" }, `${example.truncated} more tokens were cut.`));
  }

  function draw() {
    const possible = { received: true, norms: example.norms !== null, head: example === cardExample() };
    [...way.querySelector("select").options].forEach(option => { option.hidden = option.disabled = !possible[option.value]; });
    if (!possible[by]) by = "received";
    way.querySelector("select").value = by;
    const single = by === "head" ? headName(set, state.head[1], state.head[2]) : "";
    way.querySelector("[value=head]").textContent = single ? `head ${single}` : "one head";
    depth.hidden = by === "head";
    const values = valuesOf();
    const top = Math.max(quantile(values.filter((_, at) => !leftOut(example, at)), values.length > 200 ? 0.99 : 1), 1e-12);
    for (const { element, tokens } of shown) {
      const value = tokens.reduce((sum, at) => sum + values[at], 0) / tokens.length;
      element.style.setProperty("--a", leftOut(example, tokens[0]) ? 0 : Math.min(1, value / top).toFixed(3));
      element.dataset.told = told(value, leftOut(example, tokens[0]));
    }
    note.textContent = by === "norms" ? "large" : "most";
  }

  // What is drawn is clipped at the strongest token but the first, so the first has at least that.
  function told(value, clipped) {
    if (by === "head") return `${Math.round(100 * value)} % of what its strongest token receives`;
    return `${by === "norms" ? "residual norm" : "receives"} ${clipped ? "at least " : ""}${number(value, by === "norms" ? 1 : 3)}`;
  }

  place.addEventListener("pointermove", event => {
    const found = shown.find(each => each.element === event.target);
    if (!found) return hideTip();
    const at = found.tokens[0], count = found.tokens.length;
    showTip(event, [found.patch ?? (count > 1 ? `${count} tokens` : textOf(example, at)), found.element.dataset.told + (count > 1 ? " each" : ""),
      `position ${at}, ${example.segments[at]}`]);
  });
  place.addEventListener("pointerleave", hideTip);
  build();
  return draw;
};

function textOf(example, at) {
  return example.pieces[at][0];
}

// The first token is left out of the colours: as a sink it would drown all others.
function leftOut(example, at) {
  return at === 0 && example.pieces.length > 1 && !example.patches?.includes(0);
}

// What each token receives from one head, 0 to 1 of the strongest; the head's bins are runs of tokens.
function binsOf(set, row, head, tokens) {
  const bins = unpack(set.cards.bins), count = set.cards.binCount, width = Math.max(...set.measures[0].mean.map(each => each.length));
  const from = (row * width + head) * count;
  return Array.from({ length: tokens }, (_, at) => bins[from + Math.min(count - 1, Math.floor(at * count / tokens))] / 255);
}

function textElement(example, shown) {
  const text = make("p", { class: "text" }), names = new Set(example.segments.filter(name => !["first", "special", "template"].includes(name)));
  let at = 0, before = null;
  while (at < example.pieces.length) {
    const segment = example.segments[at];
    let end = at + 1;
    if (segment.startsWith("image")) while (end < example.pieces.length && example.segments[end] === segment) end++;
    if (names.size > 1 && names.has(segment) && segment !== before) text.append(make("span", { class: "segment" }, segment));
    if (names.has(segment)) before = segment;
    if (end - at < LONG_RUN) end = at + 1;
    const tokens = Array.from({ length: end - at }, (_, place) => at + place);
    const [piece, joined] = example.pieces[at];
    const element = make("span", { class: leftOut(example, at) ? "t first" : "t" }, tokens.length > 1 ? `▦ ${tokens.length} image tokens` : piece);
    text.append(joined ? "" : " ", element);
    shown.push({ element, tokens });
    at = end;
  }
  return text;
}

function patchName(example, patch) {
  const columns = example.grid[1];
  return `patch in row ${Math.floor(patch / columns) + 1}, column ${patch % columns + 1}`;
}

function pictureOf(example, shown) {
  const picture = make("div", { class: "picture" });
  if (example.image) picture.append(make("img", { src: `data:image/png;base64,${example.image}`, alt: "the image that was measured" }));
  if (!example.grid) return picture;
  const [rows, columns] = example.grid;
  picture.classList.add("gridded");
  picture.style.setProperty("--rows", rows);
  picture.style.setProperty("--columns", columns);
  picture.style.aspectRatio = `${columns} / ${rows}`;
  const grid = make("div", { class: "patches" });
  example.patches.forEach((token, at) => {
    const element = make("i", { class: "patch" });
    grid.append(element);
    shown.push({ element, tokens: [token], patch: patchName(example, at) });
  });
  picture.append(grid);
  return picture;
}
