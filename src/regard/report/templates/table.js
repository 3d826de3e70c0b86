// The table of heads: sorted by a click on a column, filtered by a head's name or a comparison.
const FIRST_ROWS = 12;

kinds.table = (block, data) => {
  const set = DATA.heads[data.heads], measures = data.measures.map(name => set.measures.find(each => each.name === name));
  const body = block.querySelector("tbody"), head = block.querySelector("thead tr");
  const input = block.querySelector("input"), told = block.querySelector(".told"), more = block.querySelector(".more");
  const order = { name: measures[0].name, down: true };
  let all = false;
  const value = (entry, name) => name === "head" ? entry.row * 1e4 + entry.head : entry.values[name];

  head.append(heading("head", "head"), ...measures.map(measure => heading(measure.name, measure.title, measure.caption)));
  function heading(name, title, caption = "") {
    const button = make("button", { type: "button", title: caption, click: () => {
      order.down = order.name === name ? !order.down : name !== "head";
      order.name = name;
      draw();
    } }, title);
    return make("th", { scope: "col", "data-name": name }, button);
  }

  function entries() {
    const found = [];
    measures[0].mean.forEach((values, row) => values.forEach((first, at) => {
      if (first === null) return;
      found.push({ row, head: at, values: Object.fromEntries(measures.map(measure => [measure.name, tableOf(measure)[row][at]])) });
    }));
    const test = filterOf(input.value, set, measures);
    const sign = order.down ? -1 : 1;
    return { test, found: test ? found.filter(test).sort((a, b) => sign * ((value(a, order.name) ?? -Infinity) - (value(b, order.name) ?? -Infinity))) : [] };
  }

  function draw() {
    const { test, found } = entries();
    const shown = all ? found : found.slice(0, FIRST_ROWS);
    body.replaceChildren(...shown.map(entry => rowOf(set, measures, entry)));
    for (const cell of head.children) {
      cell.setAttribute("aria-sort", cell.dataset.name !== order.name ? "none" : order.down ? "descending" : "ascending");
      const measure = measures.find(each => each.name === cell.dataset.name);
      cell.classList.toggle("moot", measure !== undefined && !meant(measure));
    }
    told.textContent = test ? `${found.length} heads` : "not understood: try L3, L3H2 or sink > 0.5";
    more.hidden = found.length <= FIRST_ROWS;
    more.textContent = all ? `show the first ${FIRST_ROWS}` : `show all ${found.length}`;
  }

  input.addEventListener("input", draw);
  more.addEventListener("click", () => { all = !all; draw(); });
  addSaves(block, () => [["layer", "head", ...measures.map(measure => measure.name)],
    ...entries().found.map(entry => [set.layers[entry.row], entry.head, ...measures.map(measure => entry.values[measure.name])])]);
  return draw;
};

function rowOf(set, measures, entry) {
  const name = headName(set, entry.row, entry.head), address = addressOf(set, entry.row, entry.head);
  const cells = measures.map(measure => {
    const cell = make("td", meant(measure) ? {} : { class: "moot" }, number(entry.values[measure.name], measure.digits));
    const top = measure.top ?? quantile(tableOf(measure).flat(), 1);
    cell.style.setProperty("--share", `${100 * Math.min(1, (entry.values[measure.name] ?? 0) / (top || 1))}%`);
    return cell;
  });
  const link = make("a", { href: address }, name);
  return make("tr", { "data-head": name, click: event => event.target.closest("a") || go(address) }, make("th", { scope: "row" }, link), ...cells);
}

// What a filter lets through: every word of it must fit; null where one is not understood.
function filterOf(text, set, measures) {
  const tests = [];
  const comparison = /([a-z][a-z _|]*?)\s*([<>])=?\s*(-?[\d.]+)/gi;
  for (const [, word, sign, bound] of text.matchAll(comparison)) {
    const wanted = word.trim().toLowerCase().replaceAll("_", " ");
    const measure = measures.find(each => [each.name.replaceAll("_", " "), each.title.toLowerCase()].some(name => name.startsWith(wanted)));
    if (!measure) return null;
    tests.push(entry => sign === ">" ? entry.values[measure.name] > Number(bound) : entry.values[measure.name] < Number(bound) && entry.values[measure.name] !== null);
  }
  for (const word of text.replace(comparison, " ").split(/[\s,]+/).filter(Boolean)) {
    const found = /^(?:L(\d+))?(?:H(\d+))?$/i.exec(word);
    if (!found) return null;
    tests.push(entry => [undefined, String(set.layers[entry.row])].includes(found[1]) && [undefined, String(entry.head)].includes(found[2]));
  }
  return entry => tests.every(test => test(entry));
}
