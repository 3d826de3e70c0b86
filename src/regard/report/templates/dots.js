// Every head as a dot over depth, with the median of its layer.
kinds.dots = (block, data) => {
  const set = DATA.heads[data.heads], canvas = block.querySelector(".canvas");
  const measures = data.measures.map(name => set.measures.find(measure => measure.name === name));
  let shown = measures[0];
  const picker = choose("show", measures.map(measure => [measure.name, measure.title]), name => {
    shown = measures.find(measure => measure.name === name);
    draw();
  });
  block.querySelector(".tools").append(picker);
  addSaves(block, () => [["layer", "head", shown.name],
    ...tableOf(shown).flatMap((values, row) => values.flatMap((value, head) => value === null ? [] : [[set.layers[row], head, value]]))]);

  function draw() {
    offer(picker.querySelector("select"), measures);
    if (!meant(shown)) shown = measures.find(meant) ?? shown;
    picker.querySelector("select").value = shown.name;
    block.querySelector(".caption").textContent = shown.caption;
    canvas.replaceChildren(dotsOf(set, shown, room(block)));
  }
  return draw;
};

function dotsOf(set, measure, width) {
  const table = tableOf(measure), above = 12, high = 220;
  const { each, middle } = columns(width, table.length);
  const top = Math.max(measure.top ?? 0, quantile(table.flat(), 1), 1e-9) * 1.03;
  const y = value => above + high * (1 - value / top);
  const svg = canvasOf(width, above + high + 34, `${titleOf(measure)} of every head, layer by layer`);
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    const value = share * top / 1.03;
    svg.append(shape("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value), class: "grid" }),
      label(MARGIN.left - 5, y(value) + 4, number(value, top > 20 ? 0 : top > 2 ? 1 : 2), { class: "tick", "text-anchor": "end" }));
  }
  table.forEach((values, row) => {
    const half = Math.min(each * 0.36, 14), level = y(quantile(values, 0.5));
    values.forEach((value, head) => {
      if (value === null) return;
      const x = middle(row) + (values.length > 1 ? (head / (values.length - 1) - 0.5) * 2 * half * 0.8 : 0);
      svg.append(shape("circle", { cx: x, cy: y(value), r: Math.max(1.8, Math.min(4, each / 8)), class: "dot",
        pointermove: event => showTip(event, describe(set, measure, row, head)), pointerleave: hideTip,
        click: () => go(addressOf(set, row, head)) }));
    });
    svg.append(shape("line", { x1: middle(row) - half, x2: middle(row) + half, y1: level, y2: level, class: "median" }));
  });
  layerAxis(svg, set, width, above + high);
  return svg;
}

// One number per layer, as bars.
kinds.bars = (block, data) => {
  const set = DATA.heads[data.heads], canvas = block.querySelector(".canvas");
  addSaves(block, () => [["layer", data.name], ...data.values.map((value, row) => [set.layers[row], value])]);
  return () => {
    const width = room(block), above = 12, high = 150, { each, left } = columns(width, data.values.length);
    const svg = canvasOf(width, above + high + 34, data.name), wide = Math.min(each * 0.8, 46);
    for (const share of [0, 0.5, 1]) {
      const y = above + high * (1 - share);
      svg.append(shape("line", { x1: MARGIN.left, x2: width - MARGIN.right, y1: y, y2: y, class: "grid" }),
        label(MARGIN.left - 5, y + 4, String(share), { class: "tick", "text-anchor": "end" }));
    }
    data.values.forEach((value, row) => {
      if (value === null) return;
      const tall = high * Math.max(0, Math.min(1, value));
      svg.append(shape("rect", { x: left(row) + (each - wide) / 2, y: above + high - tall, width: wide, height: tall, class: "bar",
        pointermove: event => showTip(event, [`layer ${set.layers[row] + 1} (L${set.layers[row]})`, `${number(value)} ${data.name}`]),
        pointerleave: hideTip }));
    });
    layerAxis(svg, set, width, above + high);
    canvas.replaceChildren(svg);
  };
};
