// What a reader would see go wrong on a page: a page wider than its window, words that are cut off, words over words.
window.seen = function (view) {
  const doc = view.document, wrong = [];
  const root = doc.documentElement;
  if (root.scrollWidth > root.clientWidth + 1) wrong.push(`the page is ${root.scrollWidth} px wide`);
  const visible = (el) => {
    for (let e = el; e; e = e.parentElement) {
      const style = view.getComputedStyle(e);
      if (style.visibility === "hidden" || style.display === "none" || style.opacity === "0") return false;
    }
    return true;
  };
  const said = (el) => (el.textContent || "").trim().slice(0, 40);
  // A box is what shows of it: a scroller hides the rest.
  const clipped = (rect, el) => {
    let {left, top, right, bottom} = rect;
    for (let e = el.parentElement; e; e = e.parentElement) {
      if (view.getComputedStyle(e).overflowX === "visible") continue;
      const outer = e.getBoundingClientRect();
      [left, right] = [Math.max(left, outer.left), Math.min(right, outer.right)];
    }
    return {left, top, right, bottom};
  };
  const boxes = [];
  const add = (rects, el, own) => {
    if (!visible(el)) return;
    for (const rect of rects) {
      const box = clipped(rect, el);
      if (box.right - box.left > 1 && box.bottom - box.top > 1) boxes.push({...box, own, words: said(el)});
    }
  };
  const walker = doc.createTreeWalker(doc.body, 1 | 4);
  let node = walker.currentNode;
  while (node) {
    let inside = false;
    if (node.nodeType === 1) {
      const tag = node.tagName.toLowerCase(), style = view.getComputedStyle(node);
      inside = tag === "math" || tag === "script" || tag === "style";
      if (tag === "math") add([node.getBoundingClientRect()], node, node);
      const cut = style.overflowX === "hidden" || style.overflowX === "clip";
      if (cut && node.scrollWidth > node.clientWidth + 1 && node.clientWidth > 1 && visible(node)) {
        wrong.push(`cut off: ${said(node)}`);
      }
    } else if (node.data.trim()) {
      const range = doc.createRange();
      range.selectNodeContents(node);
      add(range.getClientRects(), node.parentElement, node);
    }
    node = inside ? walker.nextSibling() || after(walker) : walker.nextNode();
  }
  boxes.sort((a, b) => a.top - b.top);
  for (let i = 0; i < boxes.length; i++) {
    for (let k = i + 1; k < boxes.length && boxes[k].top < boxes[i].bottom; k++) {
      const a = boxes[i], b = boxes[k];
      if (a.own === b.own) continue;
      const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
      const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
      const area = (x) => (x.right - x.left) * (x.bottom - x.top);
      // Lines stand closer than their letters are tall: little is nothing.
      if (wide > 1 && high > 1 && wide * high > 0.3 * Math.min(area(a), area(b))) {
        wrong.push(`over each other: ${a.words} / ${b.words}`);
      }
    }
  }
  return wrong;
};

function after(walker) {
  while (walker.parentNode()) {
    const next = walker.nextSibling();
    if (next) return next;
  }
  return null;
}

window.looked = async function (widths) {
  const report = {};
  for (const width of widths) {
    const frame = document.createElement("iframe");
    frame.style.cssText = `width: ${width}px; height: 2000px; border: 0`;
    frame.src = "page.html";
    document.body.append(frame);
    await new Promise((done) => (frame.onload = done));
    await frame.contentWindow.document.fonts.ready;
    report[width] = window.seen(frame.contentWindow);
    if (width === widths[0]) {
      frame.contentWindow.eval(await (await fetch("axe.js")).text());
      const found = await frame.contentWindow.axe.run(frame.contentWindow.document, {resultTypes: ["violations"]});
      report.axe = found.violations
        .filter((v) => v.impact === "serious" || v.impact === "critical")
        .flatMap((v) => v.nodes.map((n) => `${v.id}: ${n.target.join(" ")}`));
    }
    frame.remove();
  }
  document.body.innerHTML = "";
  document.body.append(Object.assign(document.createElement("pre"), {textContent: JSON.stringify(report)}));
  document.body.dataset.ready = "yes";
};
