// What the page shows, and the state that its figures share.
const DATA = JSON.parse(document.getElementById("data").textContent);
const state = { without: false, head: null };
const kinds = {};
const views = [];

const SINKS = ["first", "other sinks"];
const unpacked = new WeakMap();

// Packed numbers as a typed array; each is decoded once, when it is first looked at.
function unpack(packed) {
  if (!unpacked.has(packed)) {
    const bytes = Uint8Array.from(atob(packed.data), letter => letter.charCodeAt(0));
    const type = { u1: Uint8Array, u2: Uint16Array, u4: Uint32Array }[packed.type];
    unpacked.set(packed, new type(bytes.buffer));
  }
  return unpacked.get(packed);
}

// Draws again whatever can be seen; the rest is drawn when its tab is opened.
function redraw() {
  for (const view of views) {
    if (view.block.offsetParent !== null) view.draw();
  }
}

function tableOf(measure) {
  return state.without && measure.without ? measure.without : measure.mean;
}

function titleOf(measure) {
  return measure.title + (state.without && measure.without ? ", without sinks" : "");
}

// Whether the measure still means something when the sinks are taken out.
function meant(measure) {
  return !state.without || measure.without !== null;
}

function headName(set, row, head) {
  return `L${set.layers[row]}H${head}`;
}

function addressOf(set, row, head) {
  return `#${set.key ? encodeURI(set.key) + "." : ""}${headName(set, row, head)}`;
}

// The head behind an address as [set, row, head]; null where there is none.
function headAt(address) {
  const found = /^#(?:(.+)\.)?L(\d+)H(\d+)$/.exec(address);
  const set = found && Object.values(DATA.heads).find((each, at) => found[1] ? encodeURI(each.key) === found[1] : at === 0);
  const row = set ? set.layers.indexOf(Number(found[2])) : -1;
  const head = found ? Number(found[3]) : -1;
  return row >= 0 && set.measures.some(measure => (measure.mean[row][head] ?? null) !== null) ? [set, row, head] : null;
}

// A number for people: `digits` decimals, more where it would print as zero.
function number(value, digits = 2) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const small = value !== 0 && Math.abs(value) < 0.5 * 10 ** -digits;
  return small ? value.toPrecision(2) : value.toFixed(digits);
}

function quantile(values, share) {
  const sorted = Float64Array.from(values.filter(value => value !== null && !Number.isNaN(value))).sort();
  return sorted.length ? sorted[Math.round(share * (sorted.length - 1))] : 0;
}
