// Colours the tokens for another layer, and tells each one's number; the page reads without it.
for (const section of document.querySelectorAll(".texts")) {
  const series = JSON.parse(section.querySelector(".series").textContent);
  const texts = [...section.querySelectorAll(".text")].map(text => [...text.querySelectorAll(".t")]);
  const choice = section.querySelector(".layer");
  const paint = () => texts.forEach((tokens, i) => {
    const values = series[i][choice.value];
    const top = values.slice(1).reduce((a, b) => Math.max(a, b ?? 0), 1e-9);
    tokens.forEach((token, j) => {
      token.style.setProperty("--a", Math.min(1, (values[j] ?? 0) / top));
      token.title = values[j] === null ? "no token sees it" : `receives ${values[j]}`;
    });
  });
  choice.addEventListener("change", paint);
  paint();
}
