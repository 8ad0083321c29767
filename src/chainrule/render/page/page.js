// Copying: a click on a formula copies its LaTeX, and a selection is copied with LaTeX in place of its formulas.
document.addEventListener("click", (event) => {
  const formula = event.target.closest(".cr .f");
  if (!formula || !navigator.clipboard || String(getSelection())) return;
  navigator.clipboard.writeText(formula.dataset.tex).then(() => {
    formula.classList.add("copied");
    setTimeout(() => formula.classList.remove("copied"), 600);
  });
});
document.addEventListener("copy", (event) => {
  const part = getSelection().rangeCount ? getSelection().getRangeAt(0).cloneContents() : null;
  if (!part || !part.querySelector(".cr .f, .f[data-tex]")) return;
  part.querySelectorAll(".f[data-tex]").forEach((formula) => formula.replaceWith(`$${formula.dataset.tex}$`));
  event.clipboardData.setData("text/plain", part.textContent);
  event.preventDefault();
});
