// The layer x head map: one column per layer, one row per head.
kinds.map = (block, data) => {
  const set = DATA.heads[data.heads];
  const measures = data.measures.map(name => set.measures.find(measure => measure.name === name));
  let shown = measures[0], cursor = [0, 0];
  const canvas = block.querySelector(".canvas");
  const picker = choose("show", measures.map(measure => [measure.name, measure.title]), name => {
    shown = measures.find(measure => measure.name === name);
    draw();
  });
  picker.classList.add("statistic");
  if (measures.length > 1) block.querySelector(".tools").prepend(picker);
  const rows = () => [["layer", "head", shown.name, "std"], ...tableOf(shown).flatMap((values, row) => values.flatMap((value, head) =>
    value === null ? [] : [[set.layers[row], head, value, state.without ? null : shown.std?.[row][head]]]))];
  addSaves(block, rows);

  function draw() {
    offer(picker.querySelector("select"), measures);
    if (!meant(shown)) shown = measures.find(meant) ?? shown;
    picker.querySelector("select").value = shown.name;
    block.querySelector(".caption").textContent = shown.caption;
    block.querySelector(".title").textContent = titleOf(shown);
    canvas.replaceChildren(mapOf(set, shown, room(block)));
    listen(canvas.firstChild);
  }

  function listen(svg) {
    const at = event => event.target.dataset?.at?.split(",").map(Number);
    let mark = shape("rect");
    if (state.head?.[0] === set) frame(svg, state.head.slice(1), "chosen");
    const move = (event, place) => {
      cursor = place;
      mark.remove();
      mark = frame(svg, place, "cursor");
      showTip(event, describe(set, shown, ...place));
    };
    const leave = () => { hideTip(); mark.remove(); };
    dress(svg, {
      pointermove: event => at(event) ? move(event, at(event)) : leave(),
      pointerleave: leave,
      blur: leave,
      click: event => at(event) && go(addressOf(set, ...at(event))),
      keydown: event => {
        const [right, down] = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] }[event.key] ?? [0, 0];
        if (right || down) {
          event.preventDefault();
          const place = [cursor[0] + right, cursor[1] + down];
          const cell = svg.querySelector(`[data-at="${place}"]`)?.getBoundingClientRect();
          if (cell) move({ clientX: cell.right, clientY: cell.bottom }, place);
        } else if (event.key === "Enter") go(addressOf(set, ...cursor));
      },
    }, []);
  }
  return draw;
};

// A frame around a cell.
function frame(svg, place, name) {
  const cell = svg.querySelector(`[data-at="${place}"]`);
  const mark = shape("rect", { class: name, ...Object.fromEntries(["x", "y", "width", "height"].map(side => [side, cell.getAttribute(side)])) });
  svg.append(mark);
  return mark;
}

// Offers only the measures that mean something now.
function offer(select, measures) {
  measures.forEach((measure, at) => { select.options[at].disabled = !meant(measure); });
}

function describe(set, measure, row, head) {
  const value = tableOf(measure)[row][head], std = state.without ? null : measure.std?.[row][head];
  const around = std !== null && std !== undefined && set.texts > 1 ? ` (± ${number(std, measure.digits)} between texts)` : "";
  return [`${headName(set, row, head)}: ${number(value, measure.digits)} ${measure.unit}`, `${titleOf(measure)}${around}`];
}

function mapOf(set, measure, width) {
  const table = tableOf(measure), heads = Math.max(...table.map(row => row.length));
  const { each, left } = columns(width, table.length);
  const high = Math.max(3, Math.min(24, 330 / heads)), above = 24;
  const most = quantile(table.flat(), 1), top = measure.top ?? Math.max(quantile(table.flat(), 0.98), 1e-9);
  const svg = canvasOf(width, above + heads * high + 34, `${titleOf(measure)} of every head; arrow keys move, Enter opens`,
    { tabindex: 0, role: "application" });
  ramp(svg, width - MARGIN.right, 4, top, measure.digits, measure.unit, most > top * 1.001);
  const gap = Math.min(1, each * 0.06, high * 0.1), written = each >= 32 && high >= 14;
  table.forEach((values, row) => values.forEach((value, head) => {
    if (value === null) return;
    const y = above + head * high, colour = step(value, top);
    svg.append(shape("rect", { x: left(row) + gap / 2, y: y + gap / 2, width: each - gap, height: high - gap,
      class: `cell r${colour}`, "data-at": `${row},${head}` }));
    if (written) svg.append(label(left(row) + each / 2, y + high / 2 + 3.8, number(value, measure.digits),
      { class: `value on-${colour < 10 ? "low" : colour < 12 ? "middle" : "high"}`, "text-anchor": "middle" }));
  }));
  const skip = Math.ceil(13 / high);
  for (let head = 0; head < heads; head += skip) {
    svg.append(label(MARGIN.left - 5, above + head * high + high / 2 + 4, `H${head}`, { class: "tick", "text-anchor": "end" }));
  }
  layerAxis(svg, set, width, above + heads * high);
  return svg;
}
