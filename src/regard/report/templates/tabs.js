// One tab for each part of the model.
const tabs = [...document.querySelectorAll("[role=tab]")];

function showTab(key) {
  const tab = tabs.find(each => each.dataset.tab === key);
  if (!tab || tab.getAttribute("aria-selected") === "true") return;
  for (const each of tabs) {
    const chosen = each === tab;
    each.setAttribute("aria-selected", chosen);
    each.tabIndex = chosen ? 0 : -1;
    document.getElementById(each.getAttribute("aria-controls")).hidden = !chosen;
  }
  redraw();
}

tabs.forEach((tab, at) => dress(tab, {
  click: () => showTab(tab.dataset.tab),
  keydown: event => {
    const next = tabs[at + ({ ArrowRight: 1, ArrowLeft: -1 }[event.key] ?? 0)];
    if (next && next !== tab) { showTab(next.dataset.tab); next.focus(); }
  },
}, []));
