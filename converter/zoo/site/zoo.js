// The search of the front page: rows out of data.js, a hundred at a time. Texts are never read as HTML.
"use strict";
(function () {
  const data = window.zoo;
  const body = document.getElementById("rows");
  const query = document.getElementById("query");
  const state = document.getElementById("state");
  const column = document.getElementById("column");
  const told = document.getElementById("told");
  const earlier = document.getElementById("earlier");
  const later = document.getElementById("later");
  if (!data || !body) return;

  const size = data.page;
  const texts = data.rows.map((row) => (row[0] + " " + row[3].join(" ")).toLowerCase());
  let found = null;
  let start = 0;

  function add(parent, name, text, kind) {
    const node = document.createElement(name);
    if (text) node.textContent = text;
    if (kind) node.className = kind;
    parent.appendChild(node);
    return node;
  }

  function show() {
    const rows = found.slice(start, start + size);
    const made = document.createDocumentFragment();
    for (const at of rows) {
      const [name, key, letters, tags] = data.rows[at];
      const line = add(made, "tr");
      const head = add(line, "th");
      head.scope = "row";
      add(head, "a", name).href = "models/" + key + ".html";
      for (const tag of tags) add(head, "span", tag, "tag");
      data.columns.forEach(function (title, index) {
        const place = add(line, "td");
        const one = data.states[letters[index]];
        if (!one) return;
        const link = add(place, "a", "", "s " + letters[index]);
        link.href = "models/" + key + ".html#" + data.anchors[index];
        link.title = title + ": " + one[1];
        link.setAttribute("aria-label", link.title);
        add(link, "span", one[0]);
        add(link, "span", title, "label");
      });
    }
    body.replaceChildren(made);
    const last = Math.min(start + size, found.length);
    told.textContent = found.length
      ? (start + 1).toLocaleString("en") + " to " + last.toLocaleString("en") + " of " +
        found.length.toLocaleString("en") + (found.length === 1 ? " model" : " models")
      : "No model matches.";
    earlier.disabled = start === 0;
    later.disabled = last >= found.length;
  }

  function search() {
    const words = query.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = state.value;
    const where = column.value === "" ? -1 : Number(column.value);
    found = [];
    for (let at = 0; at < texts.length; at++) {
      const letters = data.rows[at][2];
      const seen = where < 0 ? letters : letters[where];
      if (where >= 0 && seen === ".") continue;
      if (wanted && ![...wanted].some((letter) => seen.includes(letter))) continue;
      if (words.every((word) => texts[at].includes(word))) found.push(at);
    }
    start = 0;
    show();
  }

  document.getElementById("search").hidden = false;
  document.getElementById("pages").hidden = false;
  query.addEventListener("input", search);
  state.addEventListener("change", search);
  column.addEventListener("change", search);
  earlier.addEventListener("click", function () { start -= size; show(); });
  later.addEventListener("click", function () {
    start += size;
    show();
    body.closest("table").scrollIntoView();
  });
  search();
})();
