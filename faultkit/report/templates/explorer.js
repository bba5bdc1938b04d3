"use strict";
// Everything shown is made by createElement and textContent: what the data says is never read as markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const items = data.items;
  const main = document.getElementById("main");
  const CHUNK = 40;

  // -- making elements --------------------------------------------------------------------------

  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name === "class") element.className = value;
      else if (name === "on") for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
      else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
    }
    fill(element, children);
    return element;
  }
  function fill(element, children) {
    for (const child of children.flat(Infinity)) if (child !== null && child !== undefined && child !== "") element.append(child);
  }
  function drawn(tag, attributes, ...children) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
    fill(element, children);
    return element;
  }
  const toneOf = (word) => { const tone = data.tones[word] || "quiet"; return tone === "quiet" ? "quiet-tone" : tone; };
  const severity = (word) => data.order.indexOf(data.tones[word] || "quiet");
  const badge = (word, text) => make("span", { class: "badge " + toneOf(word) }, text || word);
  const nameOf = (item) => item.name || "(no fault)";
  const seconds = (value) => value.toFixed(3) + " s";

  // -- what is searched, once -------------------------------------------------------------------

  const texts = items.map((item) => [
    item.word, item.name, item.place, item.action, item.test, item.known, item.also, (item.at || []).join(" "),
    ...(item.evidence || []).flat(), ...(item.facts || []).flat(), item.story,
  ].join("\n").toLowerCase());
  const state = { words: new Set(), text: "", place: "", action: "", at: "", known: "" };
  let shown = items.map(() => true);
  let current = -1;

  function matches(index) {
    const item = items[index];
    return (!state.words.size || state.words.has(item.word))
      && (!state.place || item.place === state.place)
      && (!state.action || item.action === state.action)
      && (!state.at || (item.at || []).includes(state.at))
      && (!state.known || (state.known === "known") === Boolean(item.known))
      && (!state.text || state.text.split(" ").every((part) => texts[index].includes(part)));
  }

  // -- long lists are made as far as they are looked at -----------------------------------------

  function lazily(container, rows, build) {
    let done = 0;
    const end = make("div", { class: "more" });
    function grow(count) {
      const upTo = Math.min(rows.length, done + count);
      const fragment = document.createDocumentFragment();
      for (; done < upTo; done += 1) fragment.append(build(rows[done], done, rows));
      container.insertBefore(fragment, end);
      if (done >= rows.length) { watcher.disconnect(); end.remove(); }
    }
    const watcher = new IntersectionObserver((seen) => { if (seen.some((one) => one.isIntersecting)) grow(CHUNK); },
      { rootMargin: "600px" });
    container.replaceChildren(end);
    grow(CHUNK);
    if (done < rows.length) watcher.observe(end);
    return { until(index) { if (index >= done) grow(index - done + 1); }, stop() { watcher.disconnect(); } };
  }

  // -- the words, and the filters ---------------------------------------------------------------

  const counts = new Map();
  for (const item of items) counts.set(item.word, (counts.get(item.word) || 0) + 1);
  const words = [...counts.keys()].sort((a, b) => severity(a) - severity(b));
  const wordList = make("ul", { class: "words", "aria-label": "verdicts" }, words.map((word) => {
    const button = make("button", { type: "button", "aria-pressed": "false", title: data.meanings[word] || "", on: { click() {
      if (state.words.has(word)) state.words.delete(word); else state.words.add(word);
      button.setAttribute("aria-pressed", String(state.words.has(word)));
      refresh();
    } } }, badge(word), make("b", {}, counts.get(word).toLocaleString("en")),
    make("span", { class: "meaning" }, data.meanings[word] || ""));
    return make("li", {}, button);
  }));

  function choice(label, key, values) {
    if (values.length < 2) return null;
    return make("select", { "aria-label": label, on: { change(event) { state[key] = event.target.value; refresh(); } } },
      make("option", { value: "" }, label + ": all"), values.map((value) => make("option", { value }, value)));
  }
  const distinct = (values) => [...new Set(values.filter(Boolean))];
  const columns = distinct(items.flatMap((item) => item.at || []));
  columns.sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const search = make("input", { type: "search", placeholder: "Search, for example writer.finish ENOSPC", "aria-label": "search",
    on: { input() { state.text = search.value.toLowerCase().trim(); refresh(); } } });
  const count = make("output", { "aria-live": "polite" });
  const bar = make("div", { class: "bar", role: "search" }, search,
    choice(data.matrix && data.matrix.heading.startsWith("region") ? "region" : "point", "place", distinct(items.map((item) => item.place))),
    choice("action", "action", distinct(items.map((item) => item.action))),
    choice("rank", "at", columns),
    items.some((item) => item.known) ? choice("known", "known", ["known", "new"]) : null, count);

  // -- the matrix -------------------------------------------------------------------------------

  const matrix = data.matrix;
  const grid = make("div", { class: "grid", role: "grid", "aria-label": "what was tried where" });
  let cells = new Map();
  let matrixRows = null;
  function worstOf(indices) {
    return indices.reduce((worst, index) => (severity(items[index].word) < severity(items[worst].word) ? index : worst));
  }
  function buildRow(row, number, rows) {
    const isSame = number > 0 && rows[number - 1].place === row.place;
    const line = make("div", { role: "row" },
      make("span", { class: "place mono" + (isSame ? " same" : ""), role: "rowheader" }, row.place),
      matrix.hasActions ? make("span", { class: "action mono" }, row.action) : null);
    for (const column of matrix.columns) {
      const cell = row.cells[column] || {};
      const all = cell.items || [];
      if (!all.length) {
        line.append(make("span", { class: "cell", role: "gridcell", title: cell.is_pending ? "not run: it was cut off before" : matrix.empty },
          cell.is_pending ? "?" : "\u00b7"));
        continue;
      }
      const those = all.filter((index) => shown[index]);
      const index = worstOf(those.length ? those : all);
      const item = items[index];
      const button = make("button", { type: "button", class: "badge " + toneOf(item.word) + (those.length ? "" : " faded"),
        title: nameOf(item) + (item.evidence || []).map((one) => "\n" + one.join(": ")).join(""),
        "aria-label": row.place + " " + row.action + ", " + column + ": " + item.word, tabindex: cells.size ? "-1" : "0",
        "aria-current": String(index === current), on: { click() { open(index); } } },
      item.word + (all.length > 1 ? " " + all.length : "") + (item.also ? " \u2260 " + item.also : ""));
      for (const one of all) cells.set(one, button);
      line.append(make("span", { class: "cell", role: "gridcell" }, button));
    }
    return line;
  }
  function buildMatrix() {
    if (!matrix) return;
    if (matrixRows) matrixRows.stop();
    cells = new Map();
    grid.style.gridTemplateColumns = "max-content " + (matrix.hasActions ? "max-content " : "") + "repeat(" + matrix.columns.length + ", max-content)";
    const rows = matrix.rows.filter((row) => isUnfiltered()
      || Object.values(row.cells).some((cell) => (cell.items || []).some((index) => shown[index])));
    matrixRows = lazily(grid, rows, buildRow);
    grid.prepend(make("div", { class: "head", role: "row" },
      make("span", { class: "place", role: "columnheader" }, matrix.heading), matrix.hasActions ? make("span", { class: "action" }, "action") : null,
      matrix.columns.map((column) => make("span", { class: "cell", role: "columnheader" }, column))));
  }
  if (matrix) matrix.hasActions = new Set(matrix.rows.map((row) => row.action)).size > 1;
  grid.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
    const from = event.target.closest(".cell");
    if (!step || !from) return;
    event.preventDefault();
    let row = from.parentElement;
    let at = [...row.children].indexOf(from);
    for (let guard = 0; guard < 500; guard += 1) {
      if (step[0]) row = step[0] > 0 ? row.nextElementSibling : row.previousElementSibling; else at += step[1];
      if (!row || row.className || at < 0 || at >= row.children.length) return;
      const button = row.children[at].querySelector("button");
      if (button) { event.target.tabIndex = -1; button.tabIndex = 0; button.focus(); return; }
    }
  });

  // -- the list ---------------------------------------------------------------------------------

  const list = make("div", { class: "list" });
  let listRows = null;
  let order = [];
  const byHarm = items.map((_, index) => index)
    .sort((a, b) => severity(items[a].word) - severity(items[b].word) || Boolean(items[a].known) - Boolean(items[b].known) || a - b);
  const rowsOf = new Map();
  function buildItem(index) {
    const item = items[index];
    const first = (item.evidence || [])[0];
    const row = make("button", { type: "button", "aria-current": String(index === current), on: { click() { open(index); } } },
      badge(item.word), make("span", { class: "what" }, make("code", {}, nameOf(item)),
        item.known ? [" ", make("span", { class: "known" }, "known as " + item.known)] : null,
        item.test ? make("small", {}, item.test) : null,
        first ? make("small", {}, first.join(": ").slice(0, 240)) : null),
      make("span", { class: "side" }, item.seconds === undefined || item.seconds === null ? "" : seconds(item.seconds)));
    rowsOf.set(index, row);
    return row;
  }
  function buildList() {
    if (listRows) listRows.stop();
    rowsOf.clear();
    order = byHarm.filter((index) => shown[index]);
    listRows = lazily(list, order, buildItem);
  }

  const isUnfiltered = () => !state.words.size && !state.text && !state.place && !state.action && !state.at && !state.known;
  function refresh() {
    shown = items.map((_, index) => matches(index));
    const number = shown.reduce((sum, one) => sum + one, 0);
    count.textContent = number.toLocaleString("en") + " of " + items.length.toLocaleString("en") + " " + data.what;
    buildMatrix();
    buildList();
  }

  // -- one item ---------------------------------------------------------------------------------

  const detail = make("section", { class: "detail", hidden: true, tabindex: "-1", "aria-label": "what happened" });
  const page = make("div", { class: "page" });
  function copied(text, button) {
    const done = () => { button.textContent = "Copied"; setTimeout(() => { button.textContent = "Copy"; }, 1500); };
    const byHand = () => {
      const area = make("textarea", {});
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
      done();
    };
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, byHand); else byHand();
  }
  function linkOf(index) {
    const same = items.findIndex((item) => item.name === items[index].name);
    return "#plan=" + encodeURIComponent(whole(items[index].name)) + (same === index ? "" : "&n=" + index);
  }
  const whole = (name) => name.replace(/\p{Surrogate}/gu, "\ufffd"); // what no address can hold
  function open(index, { quiet = false } = {}) {
    const item = items[index];
    for (const old of [rowsOf.get(current), cells.get(current)]) if (old) old.setAttribute("aria-current", "false");
    current = index;
    for (const now of [rowsOf.get(index), cells.get(index)]) if (now) now.setAttribute("aria-current", "true");
    const link = linkOf(index);
    if (!quiet) history.replaceState(null, "", link);
    const linked = make("a", { href: link, class: "plain" }, "Link");
    detail.replaceChildren();
    fill(detail, [
      make("header", {}, badge(item.word), make("span", { class: "what" }, make("code", {}, nameOf(item))), linked,
        make("button", { type: "button", class: "plain", on: { click: close } }, "Close")),
      make("p", { class: "quiet" }, data.meanings[item.word] || ""),
      make("dl", {}, [["place", item.place], ["action", item.action], ["at", (item.at || []).join(", ")], ["known as", item.known],
        ["simulated ranks said", item.also], ["test", item.test], ["took", item.seconds === undefined || item.seconds === null ? "" : seconds(item.seconds)],
        ...(item.facts || [])].filter((fact) => fact[1]).map(([name, text]) => [make("dt", {}, name), make("dd", {}, text)])),
      (item.evidence || []).length ? [make("h3", {}, "What should have held, and did not"),
        item.evidence.map(([check, text]) => make("p", {}, make("b", {}, check + ": "), text))] : null,
      (item.ways || []).length ? [make("h3", {}, "Again"), item.ways.map(([label, command]) => {
        const button = make("button", { type: "button", class: "plain", on: { click() { copied(command, button); } } }, "Copy");
        return make("div", { class: "way" }, make("div", {}, make("span", { class: "quiet" }, label), make("pre", {}, command)), button);
      })] : null,
      item.timeline ? [make("h3", {}, "Timeline"), timeline(item.timeline)] : null,
      item.beside ? [make("h3", {}, "What was left, beside it"), timeline(item.beside)] : null,
      item.drawing ? [make("h3", {}, "The crash"), drawing(item.drawing)] : null,
      item.story ? [make("h3", {}, "The whole story"), make("pre", {}, item.story)] : null,
    ]);
    detail.hidden = false;
    page.classList.add("open");
    if (!quiet) detail.focus({ preventScroll: false });
  }
  function close() {
    detail.hidden = true;
    page.classList.remove("open");
    history.replaceState(null, "", "#");
    const back = cells.get(current) || rowsOf.get(current);
    if (back) back.focus();
  }
  function follow() {
    const asked = new URLSearchParams(location.hash.slice(1));
    if (!asked.has("plan")) return;
    const plan = asked.get("plan");
    let index = asked.has("n") ? Number(asked.get("n")) : -1;
    if (!items[index] || whole(items[index].name) !== plan) index = items.findIndex((item) => whole(item.name) === plan);
    if (index >= 0) open(index, { quiet: true });
  }

  // -- drawings ---------------------------------------------------------------------------------

  function timeline(run) {
    const left = 62, right = 96, lane = 44, width = 760, head = 22;
    const height = head + run.lanes.length * lane + 8;
    const total = Math.max(run.seconds, 1e-6);
    const x = (at) => left + (Math.min(Math.max(at, 0), total) / total) * (width - left - right);
    const svg = drawn("svg", { viewBox: "0 0 " + width + " " + height, role: "img" },
      drawn("title", {}, "each rank as a lane, over " + total.toFixed(4) + " s" + (run.clock ? " of simulated time" : "")));
    for (let tick = 0; tick <= 4; tick += 1) {
      const at = (total * tick) / 4;
      svg.append(drawn("line", { class: "grid-line", x1: x(at), x2: x(at), y1: head, y2: height - 4 }),
        drawn("text", { class: "dim", x: x(at), y: 13, "text-anchor": tick === 4 ? "end" : "middle" }, (at * 1000).toFixed(total < 0.1 ? 1 : 0) + " ms"));
    }
    run.lanes.forEach((one, number) => {
      const top = head + number * lane;
      svg.append(drawn("text", { x: 0, y: top + 24 }, "rank " + one.rank));
      let last = 0;
      for (const [from, to, kind, name, ok] of one.spans || []) {
        const until = to === null ? total : to;
        last = Math.max(last, to === null ? from : until);
        const box = kind === "save" ? [top + 4, 34] : [top + 20, 16];
        svg.append(drawn("rect", { class: (kind === "save" ? "span-save" : "span-step") + (ok ? "" : " span-bad"), x: x(from), y: box[0], rx: 2,
          width: Math.max(1, x(until) - x(from)), height: box[1] }, drawn("title", {}, name + (ok ? "" : " failed") + (to === null ? ", never ended" : "") + ": " + (from * 1000).toFixed(2) + " to " + (until * 1000).toFixed(2) + " ms")));
        if (x(until) - x(from) > name.length * 5.5) svg.append(drawn("text", { x: x(from) + 3, y: kind === "save" ? top + 15 : top + 32 }, name));
      }
      for (const [at, kind, text] of one.marks || []) {
        last = Math.max(last, at);
        const shape = kind === "fault" ? drawn("path", { class: "m-fault", d: "M" + x(at) + " " + (top + 2) + " l6 10 h-12 z" })
          : drawn("circle", { class: kind === "error" || kind === "failed call" ? "m-error" : "m-call", cx: x(at), cy: top + 10, r: kind === "call" ? 2 : 3.5 });
        shape.append(drawn("title", {}, text + ", at " + (at * 1000).toFixed(2) + " ms"));
        svg.append(shape);
      }
      if (one.knew !== undefined && one.knew !== null) svg.append(drawn("circle", { class: "m-knew", cx: x(one.knew), cy: top + 28, r: 5 },
        drawn("title", {}, "here an error reached its function: " + (one.knew * 1000).toFixed(2) + " ms")));
      if (one.end === "hung") svg.append(drawn("line", { class: "hang", x1: x(last), x2: x(total), y1: top + 38, y2: top + 38 }, drawn("title", {}, one.waiting || "hung")));
      svg.append(drawn("text", { x: width - right + 8, y: top + 24 }, one.end, drawn("title", {}, one.waiting || one.end)));
    });
    const waits = run.lanes.filter((one) => one.waiting);
    return make("div", {}, make("div", { class: "scroll" }, svg),
      make("p", { class: "keys" }, "\u25b2 fault \u00b7 \u25cf error \u00b7 \u25cb when it knew \u00b7 upper bar: save or load \u00b7 lower bar: step \u00b7 dashes: hung"),
      waits.map((one) => make("p", { class: "quiet" }, "rank " + one.rank + ": waiting " + one.waiting)));
  }
  function drawing(crash) {
    const lanes = Object.entries(crash.lanes);
    const numbers = lanes.flatMap(([, operations]) => operations.map((one) => one[2]));
    const size = Math.max(1, ...numbers) + 1;
    const left = 62, width = Math.max(420, Math.min(1400, left + size * 16 + 20)), lane = 34;
    const x = (number) => left + ((number + 0.5) / size) * (width - left - 12);
    const cut = Math.max(-0.5, ...lanes.flatMap(([, operations]) => operations.filter((one) => one[1] !== "later").map((one) => one[2]))) + 0.5;
    const svg = drawn("svg", { viewBox: "0 0 " + width + " " + (lanes.length * lane + 16), role: "img" }, drawn("title", {}, crash.cut));
    lanes.forEach(([rank, operations], number) => {
      const y = number * lane + 18;
      svg.append(drawn("text", { x: 0, y: y + 4 }, "rank " + rank), drawn("line", { class: "grid-line", x1: left, x2: width - 8, y1: y, y2: y }));
      for (const [what, fate, at] of operations) {
        svg.append(drawn("rect", { class: fate, x: x(at) - 5, y: y - 8, width: 10, height: 16, rx: 2 }, drawn("title", {}, what + " (" + fate + ")")));
        if (fate === "lost") svg.append(drawn("text", { x: x(at), y: y + 4, "text-anchor": "middle" }, "\u00d7"));
      }
    });
    if (cut < size - 0.5) svg.append(drawn("line", { class: "cut", x1: x(cut), x2: x(cut), y1: 2, y2: lanes.length * lane + 10 }));
    const lost = lanes.flatMap(([rank, operations]) => operations.filter((one) => one[1] === "lost").map((one) => "rank " + rank + ": " + one[0]));
    return make("div", {}, make("p", {}, crash.cut), make("div", { class: "scroll" }, svg),
      make("p", { class: "keys" }, "green: it was on the disk \u00b7 red \u00d7: lost \u00b7 grey: not done yet \u00b7 dashes: the crash"),
      lost.map((text) => make("p", { class: "quiet" }, "lost \u2013 " + text)), crash.read ? make("p", {}, "then the load: " + crash.read) : null);
  }

  // -- the page ---------------------------------------------------------------------------------

  document.addEventListener("keydown", (event) => {
    if (event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (event.key === "/") { event.preventDefault(); search.focus(); }
    else if (event.key === "Escape" && !detail.hidden) close();
    else if (event.key === "j" || event.key === "k") {
      const at = order.indexOf(current) + (event.key === "j" ? 1 : -1);
      if (at >= 0 && at < order.length) { listRows.until(at); open(order[at]); }
    }
  });
  addEventListener("hashchange", follow);

  function noted(note) {
    if (note.length < 220) return make("p", {}, note);
    const [head] = note.split(": ");
    return make("details", {}, make("summary", {}, head.slice(0, 120)), make("p", { class: "quiet" }, note.slice(head.length + 2)));
  }
  const left = make("div", {}, matrix ? [make("h2", {}, "What was tried where"), make("div", { class: "scroll" }, grid)] : null,
    (data.groups || []).length ? [make("h2", {}, "What broke, together"), data.groups.map(([title, members]) => make("div", { class: "group" },
      make("p", {}, badge(items[members[0]].word), " ", make("button", { type: "button", on: { click() { open(members[0]); } } }, title),
        items[members[0]].known ? [" ", make("span", { class: "known" }, "known as " + items[members[0]].known)] : null),
      ((items[members[0]].evidence || []).slice(0, 2)).map((one) => make("p", { class: "quiet" }, one.join(": ")))))] : null,
    make("h2", {}, "All " + data.what), list);
  page.append(left, detail);
  main.append(wordList, ...(data.notes || []).map(noted),
    ...(data.tables || []).flatMap(([title, heads, rows]) => [make("h2", {}, title), make("div", { class: "scroll" }, make("table", {},
      make("tr", {}, heads.map((head) => make("th", {}, head))), rows.map((row) => make("tr", {}, row.map((text) => make("td", {}, text))))))]),
    bar, make("p", { class: "keys" }, make("kbd", {}, "/"), " search \u00b7 ", make("kbd", {}, "j"), " ", make("kbd", {}, "k"), " next, previous \u00b7 arrows in the matrix \u00b7 ",
      make("kbd", {}, "Esc"), " close"), page);
  refresh();
  follow();
  document.documentElement.dataset.ready = "yes";
})();
