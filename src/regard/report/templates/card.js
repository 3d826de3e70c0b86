// The card of one head, opened by its address.
const drawer = document.getElementById("card");
let opener = null, opened = "", pressed = Infinity;
// The card opens on the side where it does not hide what was clicked; by its address on the left, beside the map.
document.addEventListener("pointerdown", event => { pressed = event.clientX; }, true);

function go(address) {
  location.hash = address;
  openCard();
}

// Leaves a card as it is that was opened before the browser tells of its address.
function follow() {
  if (location.hash !== opened) openCard();
}

function openCard() {
  const found = headAt(location.hash);
  opened = location.hash;
  if (!found) return closeCard(false);
  const [set, row, head] = found;
  if (!drawer.open) {
    opener = document.activeElement;
    drawer.classList.toggle("right", pressed < innerWidth / 2);
  }
  state.head = found;
  showTab(set.key);
  drawer.replaceChildren(...cardOf(set, row, head));
  if (!drawer.open) drawer.show();
  drawer.querySelector("h2").focus({ preventScroll: true });
  redraw();
}

function closeCard(forget = true) {
  if (!drawer.open) return;
  drawer.close();
  // the address of a notebook's frame cannot be changed
  if (forget && location.protocol !== "about:") history.replaceState(null, "", location.pathname + location.search);
  opener?.focus?.({ preventScroll: true });
}

function cardOf(set, row, head) {
  const name = headName(set, row, head), code = `heads=[(${set.layers[row]}, ${head})]${set.selection}`;
  const copied = make("button", { type: "button", class: "copy", click: event => copy(code, event.target) }, "copy");
  return [
    make("header", {}, make("h2", { tabindex: -1 }, name, make("small", {}, ` layer ${set.layers[row] + 1} of ${Math.max(...set.layers) + 1}, ${set.title}`)),
      make("button", { type: "button", class: "close", "aria-label": "close the card", click: () => closeCard() }, "×")),
    statisticsOf(set, row, head),
    ...keysOf(set, row, head),
    ...alikeOf(set, row, head),
    make("h3", {}, "To use this head"),
    make("p", { class: "code" }, make("code", {}, code), copied),
    make("p", { class: "quiet" }, "site ", make("code", {}, set.paths[row])),
  ];
}

function statisticsOf(set, row, head) {
  const lines = set.measures.filter(meant).map(measure => {
    const table = tableOf(measure), value = table[row][head], others = table.flat().filter(each => each !== null);
    const below = value === null ? 0 : others.filter(each => each < value).length / Math.max(1, others.length - 1);
    return make("tr", {}, make("th", { scope: "row", title: measure.caption }, titleOf(measure)),
      make("td", {}, `${number(value, measure.digits)} ${measure.unit}`),
      make("td", {}, value === null ? "" : `${Math.round(100 * below)} %`));
  });
  const columns = ["", "value", "heads with less"].map(text => make("th", { scope: "col" }, text));
  return make("table", {}, make("thead", {}, make("tr", {}, ...columns)), make("tbody", {}, ...lines));
}

// The keys that one query looks at most, with a choice of query, and a button to colour the text.
function keysOf(set, row, head) {
  const cards = set.cards;
  if (!cards) return [];
  const asked = DATA.examples[cards.text], from = DATA.examples[cards.keyText], list = make("ol", { class: "keys" });
  const show = at => list.replaceChildren(...topKeys(cards, row, head, Number(at)).map(([position, weight]) => {
    const line = make("li", {}, make("code", {}, from ? textOf(from, position) : `key ${position}`),
      make("span", { class: "quiet" }, from ? whereIs(from, position) : ""), make("b", {}, weight < 0.01 ? "< 0.01" : number(weight)));
    line.style.setProperty("--share", `${100 * weight}%`);
    return line;
  }));
  const picker = choose("query", cards.queries.map((position, at) => [at, asked ? `${position}: ${textOf(asked, position)}` : `position ${position}`]), show);
  const last = cards.queries.indexOf(Math.max(...cards.queries));
  picker.querySelector("select").value = last;
  show(last);
  const texts = document.querySelector(`[data-kind=texts][data-heads="${CSS.escape(set.key)}"]`);
  const shown = texts && DATA.blocks[texts.dataset.block].examples.includes(cards.keyText);
  const colour = make("button", { type: "button", class: "colour", click: () => { closeCard(); texts.dispatchEvent(new Event("colour")); } },
    from?.kind === "image" ? "colour the image by this head" : "colour the text by this head");
  return [make("h3", {}, "Where it looks"), make("p", { class: "tools" }, picker), list, ...(shown ? [make("p", {}, colour)] : [])];
}

function whereIs(example, position) {
  const patch = example.patches?.indexOf(position) ?? -1;
  return patch < 0 ? `position ${position}` : patchName(example, patch);
}

function topKeys(cards, row, head, query) {
  const width = cards.shape[1], from = ((row * width + head) * cards.queries.length + query) * cards.shape[3];
  const keys = unpack(cards.keys).subarray(from, from + cards.shape[3]), weights = unpack(cards.weights).subarray(from, from + cards.shape[3]);
  return [...keys].map((position, at) => [position, weights[at] / 255]).filter(([, weight]) => weight > 0);
}

function alikeOf(set, row, head) {
  const pairs = set.pairs.filter(pair => pair.layer === set.layers[row] && [pair.a, pair.b].includes(head));
  const link = pair => make("a", { href: addressOf(set, row, pair.a === head ? pair.b : pair.a) }, headName(set, row, pair.a === head ? pair.b : pair.a));
  return pairs.length ? [make("h3", {}, "Looks at the same as"), make("p", {}, ...pairs.flatMap((pair, at) => [at ? ", " : "", link(pair), ` (${number(pair.similarity)})`]))] : [];
}
