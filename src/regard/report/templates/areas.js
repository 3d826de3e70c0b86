// Where attention goes: shares over depth, stacked, that add up to 1.
const TOLD = { first: "first token", "other sinks": "other sinks", "last 16": "last 16 tokens", rest: "everything else" };

// The shares as they are shown: without the sinks, what is left is divided by its sum.
function sharesOf(data) {
  const kept = data.names.map((name, at) => at).filter(at => !(state.without && SINKS.includes(data.names[at])));
  const shares = data.shares.map(row => {
    const values = kept.map(at => row[at] ?? 0), sum = values.reduce((a, b) => a + b, 0);
    return values.map(value => state.without && sum > 0 ? value / sum : value);
  });
  return { names: kept.map(at => data.names[at]), shares };
}

kinds.areas = (block, data) => {
  const set = DATA.heads[data.heads], canvas = block.querySelector(".canvas");
  addSaves(block, () => {
    const { names, shares } = sharesOf(data);
    return [["layer", ...names], ...shares.map((row, at) => [set.layers[at], ...row])];
  });
  return () => {
    const width = room(block);
    const { names, shares } = sharesOf(data);
    const means = names.map((_, at) => shares.reduce((sum, row) => sum + row[at], 0) / shares.length);
    const svg = canvasOf(width, 10, "shares of attention over depth");
    const above = legend(svg, width, names, means) + 8, high = 170;
    svg.setAttribute("viewBox", `0 0 ${width} ${above + high + 34}`);
    stack(svg, set, width, above, high, names, shares);
    layerAxis(svg, set, width, above + high);
    canvas.replaceChildren(svg);
  };
};

function legend(svg, width, names, means) {
  let x = MARGIN.left, y = 2;
  names.forEach((name, at) => {
    const text = `${TOLD[name] ?? name} ${number(means[at])}`, wide = widthOf(text) + 30;
    if (x + wide > width && x > MARGIN.left) [x, y] = [MARGIN.left, y + 18];
    svg.append(shape("rect", { x, y: y + 1, width: 10, height: 10, rx: 2, class: areaClass(name) }), label(x + 15, y + 10, text, { class: "key" }));
    x += wide;
  });
  return y + 16;
}

function areaClass(name) {
  return `area a-${name.replace(/\W+/g, "-")}`;
}

function stack(svg, set, width, above, high, names, shares) {
  const { each, left, middle } = columns(width, shares.length);
  const places = [left(0), ...shares.map((_, row) => middle(row)), left(shares.length)];
  const rows = [0, ...shares.keys(), shares.length - 1];
  let below = rows.map(() => 0);
  names.forEach((name, at) => {
    const over = rows.map((row, place) => below[place] + shares[row][at]);
    const point = (value, place) => `${places[place].toFixed(1)},${(above + high * (1 - Math.min(1, value))).toFixed(1)}`;
    const line = [...over.map(point), ...below.map(point).reverse()];
    svg.append(shape("polygon", { points: line.join(" "), class: areaClass(name) }));
    below = over;
  });
  for (const share of [0, 0.5, 1]) {
    svg.append(label(MARGIN.left - 5, above + high * (1 - share) + 4, String(share), { class: "tick", "text-anchor": "end" }));
  }
  shares.forEach((row, at) => svg.append(shape("rect", { x: left(at), y: above, width: each, height: high, class: "band",
    pointermove: event => showTip(event, [`layer ${set.layers[at] + 1} (L${set.layers[at]})`,
      ...names.map((name, place) => `${number(row[place])} ${TOLD[name] ?? name}`)]),
    pointerleave: hideTip })));
}
