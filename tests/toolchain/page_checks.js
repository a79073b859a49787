// What tests ask of a page in the browser. Each check returns what is wrong, or what it found.
({
  open() {
    document.querySelectorAll("details").forEach((d) => (d.open = true));
  },

  rgba(words) {
    const parts = words.match(/[\d.]+/g).map(Number);
    return parts.length === 3 ? [...parts, 1] : parts;
  },

  over(top, below) {
    return [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  },

  luminance(colour) {
    const [r, g, b] = colour.slice(0, 3).map((c) => {
      const s = c / 255;
      return s <= 0.03928 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  },

  // The colour behind an element: the backgrounds of its ancestors, and of a text in a picture the
  // rectangles before it that it stands on.
  behind(element) {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.unshift(this.rgba(getComputedStyle(e).backgroundColor));
    const at = element.getBoundingClientRect(), x = at.left + at.width / 2, y = at.top + at.height / 2;
    for (const { rect, box } of this.rectangles(element.closest("svg"))) {
      if (box.left > x || x > box.right || box.top > y || y > box.bottom) continue;
      if (!(rect.compareDocumentPosition(element) & Node.DOCUMENT_POSITION_FOLLOWING)) continue;
      const style = getComputedStyle(rect), fill = this.rgba(style.fill);
      layers.push([...fill.slice(0, 3), fill[3] * Number(style.opacity)]);
    }
    return layers.reduce((below, top) => this.over(top, below), [255, 255, 255, 1]);
  },

  boxes: new Map(),

  rectangles(svg) {
    if (!svg) return [];
    if (!this.boxes.has(svg)) {
      const all = [...svg.querySelectorAll("rect")];
      this.boxes.set(svg, all.map((rect) => ({ rect, box: rect.getBoundingClientRect() })));
    }
    return this.boxes.get(svg);
  },

  contrast() {
    const low = [];
    let seen = 0;
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const element = walker.currentNode.parentElement;
      if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
      if (["title", "desc"].includes(element.localName)) continue;
      seen += 1;
      const style = getComputedStyle(element), back = this.behind(element);
      const front = this.over(this.rgba(element.closest("svg") ? style.fill : style.color), back);
      const [a, b] = [this.luminance(front), this.luminance(back)].sort((p, q) => q - p);
      const ratio = (a + 0.05) / (b + 0.05);
      if (ratio < 4.5) low.push(`${element.localName}.${element.className.baseVal ?? element.className}: ${ratio}`);
    }
    return { seen, low };
  },

  paper() {
    return getComputedStyle(document.body).backgroundColor;
  },

  figures() {
    return [...document.querySelectorAll("figure")].map((figure) => {
      const svg = figure.querySelector("svg[role=img]"), size = svg.getBoundingClientRect();
      const shapes = [...svg.querySelectorAll("rect, path, line, text")].map((e) => e.getBoundingClientRect());
      const named = svg.getAttribute("aria-labelledby").split(" ").map((id) => document.getElementById(id));
      return {
        key: figure.id,
        seen: size.width > 100 && size.height > 20 && shapes.some((s) => s.width > 0 || s.height > 0),
        inside: shapes.every((s) => s.right <= size.right + 1 && s.left >= size.left - 1),
        told: named.every((e) => e && e.textContent.trim()),
      };
    });
  },

  structure() {
    const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
    const wanted = [...document.querySelectorAll("[aria-labelledby]")].flatMap((e) =>
      e.getAttribute("aria-labelledby").split(" "));
    const anchors = [...document.querySelectorAll("a")].map((a) => a.getAttribute("href").slice(1));
    return {
      headings: [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].map((h) => Number(h.localName[1])),
      twice: ids.filter((id, i) => ids.indexOf(id) !== i),
      dangling: [...wanted, ...anchors].filter((id) => !ids.includes(id)),
      foreign: document.querySelectorAll("script, img, iframe, object, link, form, [onerror], [onload]").length,
    };
  },

  reachable() {
    return document.querySelectorAll("a[href], summary, [tabindex='0']").length;
  },

  unreachable() {
    return [...document.querySelectorAll("*")]
      .filter((e) => ["auto", "scroll"].includes(getComputedStyle(e).overflowX) || e.localName === "summary")
      .filter((e) => e.scrollWidth > e.clientWidth || e.scrollHeight > e.clientHeight)
      .filter((e) => e.tabIndex < 0 && e.localName !== "nav")
      .map((e) => e.outerHTML.slice(0, 80));
  },

  focused() {
    const e = document.activeElement;
    e.dataset.reached = "yes";
    const style = getComputedStyle(e);
    return e !== document.body && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
  },

  reached() {
    return document.querySelectorAll("[data-reached]").length;
  },

  overflow() {
    return document.documentElement.scrollWidth - document.documentElement.clientWidth;
  },

  table(key) {
    const rows = document.getElementById(key).querySelectorAll("tr");
    return [...rows].map((row) => [...row.children].map((cell) => cell.textContent.trim()));
  },
})
