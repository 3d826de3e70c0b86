// Elements, the tip under the pointer, and the geometry that the figures over layers share.
const SVG = "http://www.w3.org/2000/svg";
const STEPS = 20;
const MARGIN = { left: 34, right: 6 };

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  return dress(element, attributes, children);
}

function shape(tag, attributes = {}, ...children) {
  return dress(document.createElementNS(SVG, tag), attributes, children);
}

function dress(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

function choose(label, options, change) {
  const select = make("select", { change: () => change(select.value) });
  for (const [value, text] of options) select.append(make("option", { value }, text));
  return make("label", {}, `${label} `, select);
}

function canvasOf(width, height, label, attributes = {}) {
  return shape("svg", { class: "plot", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label, ...attributes });
}

function label(x, y, text, attributes = {}) {
  return shape("text", { x, y, ...attributes }, text);
}

// The place of each layer's column, the same in every figure of a page so that they line up.
function columns(width, layers) {
  const each = (width - MARGIN.left - MARGIN.right) / layers;
  return { each, left: row => MARGIN.left + row * each, middle: row => MARGIN.left + (row + 0.5) * each };
}

function layerAxis(svg, set, width, y) {
  const { each, middle } = columns(width, set.layers.length);
  const skip = Math.ceil(30 / each);
  set.layers.forEach((layer, row) => {
    if (row % skip === 0) svg.append(label(middle(row), y + 13, `L${layer}`, { class: "tick", "text-anchor": "middle" }));
  });
  svg.append(label(width / 2, y + 28, "layer, from input to output", { class: "axis", "text-anchor": "middle" }));
}

// The step 0 to 19 of the colour ramp for a value between 0 and `top`.
function step(value, top) {
  return Math.max(0, Math.min(STEPS - 1, Math.floor((value / top) * STEPS)));
}

function ramp(svg, right, y, top, digits, unit, clipped) {
  const each = 5, left = right - STEPS * each - 30;
  for (let at = 0; at < STEPS; at++) svg.append(shape("rect", { x: left + at * each, y, width: each + 0.5, height: 9, class: `r${at}` }));
  svg.append(label(left - 4, y + 8.5, "0", { class: "tick", "text-anchor": "end" }));
  svg.append(label(right - 26, y + 8.5, number(top, digits) + (clipped ? "+" : ""), { class: "tick" }));
  svg.append(label(left - 16, y + 8.5, unit, { class: "tick", "text-anchor": "end" }));
}

// How wide a text is in a figure, near enough to set a legend.
const ruler = document.createElement("canvas").getContext("2d");
function widthOf(text) {
  ruler.font = "11.5px system-ui, sans-serif";
  return ruler.measureText(text).width;
}

const tip = document.getElementById("tip");
function showTip(event, lines) {
  tip.replaceChildren(...lines.map((line, at) => make(at ? "div" : "strong", {}, line)));
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  const x = Math.min(event.clientX + 14, innerWidth - box.width - 6);
  const y = event.clientY + box.height + 20 > innerHeight ? event.clientY - box.height - 10 : event.clientY + 16;
  tip.style.transform = `translate(${Math.max(4, x)}px, ${Math.max(4, y)}px)`;
}

function hideTip() {
  tip.hidden = true;
}

// The plot's width in pixels, so that letters keep their size on a phone.
function room(block) {
  return Math.max(240, Math.floor(block.querySelector(".canvas").clientWidth));
}
