// Brings the blocks to life.
for (const block of document.querySelectorAll("[data-kind]")) {
  views.push({ block, draw: kinds[block.dataset.kind](block, DATA.blocks[block.dataset.block]) });
}

const switches = document.querySelectorAll(".without input");
for (const box of switches) {
  box.checked = false;
  box.addEventListener("change", () => {
    state.without = box.checked;
    for (const other of switches) other.checked = box.checked;
    if (drawer.open) openCard();
    else redraw();
  });
}

for (const button of document.querySelectorAll("button[data-copy]")) {
  button.addEventListener("click", () => copy(button.dataset.copy, button));
}

// A link to the head whose card was just closed changes no address in a notebook's frame, so links do not rely on it.
document.addEventListener("click", event => {
  const address = event.target.closest?.("a[href^='#']")?.getAttribute("href");
  if (address) { event.preventDefault(); go(address); }
});
document.addEventListener("keydown", event => { if (event.key === "Escape") { hideTip(); closeCard(); } });
addEventListener("hashchange", follow);

let width = innerWidth;
addEventListener("resize", () => { if (innerWidth !== width) { width = innerWidth; redraw(); } });
redraw();
openCard();
