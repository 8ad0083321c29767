// Copying: a click on a formula copies its LaTeX, the button below a proof that of all its lines, and a selection is
// copied with LaTeX in place of its formulas. A touch of a symbol shows what it is, as the pointer on it does.
function copy(text, from) {
  if (!navigator.clipboard) return;
  navigator.clipboard.writeText(text).then(() => {
    from.classList.add("copied");
    setTimeout(() => from.classList.remove("copied"), 600);
  });
}
function proof(table) {
  const lines = [...table.rows].map((row) => {
    const side = (name) => row.querySelector(`.${name} .f`)?.dataset.tex ?? "";
    return `${side("l")} &${side("r")}`;
  });
  return `\\begin{align*}\n${lines.join(" \\\\\n")}\n\\end{align*}`;
}
document.addEventListener("click", (event) => {
  const button = event.target.closest(".cr .copy"), formula = event.target.closest(".cr .f");
  const symbol = event.target.closest(".cr main math [class]")?.getAttribute("class");
  document.querySelectorAll(".cr .legend p").forEach((p) => {
    p.classList.toggle("shown", symbol !== undefined && p.classList.contains(symbol.replace("s", "t")));
  });
  if (button) copy(proof(button.previousElementSibling), button);
  else if (formula && !String(getSelection())) copy(formula.dataset.tex, formula);
});
document.addEventListener("copy", (event) => {
  const part = getSelection().rangeCount ? getSelection().getRangeAt(0).cloneContents() : null;
  if (!part || !part.querySelector(".cr .f, .f[data-tex]")) return;
  part.querySelectorAll(".f[data-tex]").forEach((formula) => formula.replaceWith(`$${formula.dataset.tex}$`));
  event.clipboardData.setData("text/plain", part.textContent);
  event.preventDefault();
});
