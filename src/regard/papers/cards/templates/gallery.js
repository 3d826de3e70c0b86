const papers = [...document.querySelectorAll(".paper")];
const field = name => document.getElementById(name);

function show() {
  const wanted = field("query").value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const paper of papers) {
    const { text, family, status } = paper.dataset;
    const hit = wanted.every(word => text.includes(word))
      && [family, ""].includes(field("family").value) && [status, ""].includes(field("status").value);
    paper.hidden = !hit;
    count += hit;
  }
  field("told").textContent = `${count} of ${papers.length} papers`;
}

const form = document.querySelector("form");
form.hidden = false;
form.addEventListener("input", show);
form.addEventListener("submit", event => event.preventDefault());
show();
