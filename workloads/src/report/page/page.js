"use strict";
// Zooms the rows over time, draws the operations, and shows what is picked. Works on the JSON beside it; all texts
// in that come from the store under test and from its logs, so they only ever become text, never markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const END = data.end_s;
  const SPAN_MIN = 0.001;
  const LINES_MAX = 400;
  const OUTCOMES = ["ok", "fail", "info"];
  const view = { a: 0, b: END };
  let picked = null;
  let matches = null;

  // ---- what there is --------------------------------------------------------------------------------------
  const el = (name, attributes, ...children) => {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) node[key] = value;
    node.append(...children);
    return node;
  };
  const seconds = (s, digits = 3) => s.toFixed(digits) + " s";
  const witnessOf = new Map();
  data.witnesses.forEach((witness, number) => {
    for (const id of witness.operations) witnessOf.set(witness.workload + ":" + id, number);
  });
  for (const workload of data.workloads) {
    // Starts are stored as differences. Ends only grow in `reach`, so what is in view is found by halving.
    const count = workload.start.length;
    const start = new Float64Array(count), end = new Float64Array(count), reach = new Float64Array(count);
    let at = 0, far = 0;
    for (let i = 0; i < count; i++) {
      at += workload.start[i];
      start[i] = at / 1e6;
      end[i] = (at + workload.length[i]) / 1e6;
      far = Math.max(far, end[i]);
      reach[i] = far;
    }
    Object.assign(workload, { start, end, reach, count });
    workload.witness = new Uint8Array(count);
    if (witnessOf.size) {
      for (let i = 0; i < count; i++) {
        if (witnessOf.has(workload.name + ":" + idOf(workload, i))) workload.witness[i] = 1;
      }
    }
  }
  function idOf(workload, i) { return workload.id ? workload.id[i] : i; }
  function textOf(workload, i) {
    return workload.text[i] < 0 ? "(left out of this page; the history has it)" : workload.texts[workload.text[i]];
  }
  function nodeOf(workload, i) { return workload.node[i] < 0 ? "" : " on " + workload.nodes[workload.node[i]]; }
  const firstAtLeast = (array, value) => {
    let low = 0, high = array.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (array[middle] < value) low = middle + 1; else high = middle;
    }
    return low;
  };

  // ---- the view -------------------------------------------------------------------------------------------
  const places = all(".at").map((node) => ({ node, a: +node.dataset.a, b: +node.dataset.b }));
  const plots = all("svg.plot");
  const axis = document.querySelector(".axis .plotcol");
  const canvases = all("canvas");
  let waiting = false;
  function show(a, b) {
    const span = Math.min(Math.max(b - a, SPAN_MIN), END);
    const from = Math.min(Math.max(a, 0), END - span);
    view.a = from;
    view.b = from + span;
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  }
  function zoom(factor, at = (view.a + view.b) / 2) {
    show(at - (at - view.a) * factor, at + (view.b - at) * factor);
  }
  function shift(share) {
    const by = (view.b - view.a) * share;
    show(view.a + by, view.b + by);
  }
  function draw() {
    const { a, b } = view, span = b - a;
    for (const { node, a: from, b: to } of places) {
      const out = to < a || from > b;
      node.hidden = out;
      if (out) continue;
      // What begins before the view keeps its words in it.
      const left = Math.max(from, a), right = Math.min(to, b);
      node.style.left = ((left - a) / span) * 100 + "%";
      node.style.width = ((right - left) / span) * 100 + "%";
    }
    for (const plot of plots) plot.setAttribute("viewBox", `${a} 0 ${span} 100`);
    drawAxis(a, span);
    canvases.forEach(drawLanes);
    $("range").value = `${seconds(a)} to ${seconds(b)}`;
    logLines();
  }
  function drawAxis(a, span) {
    const wanted = Math.max(3, Math.floor(axis.clientWidth / 110));
    const raw = span / wanted, magnitude = 10 ** Math.floor(Math.log10(raw));
    const step = magnitude * [1, 2, 5, 10].find((factor) => factor * magnitude >= raw * 0.999);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
    axis.replaceChildren();
    for (let n = Math.ceil(a / step); n * step <= a + span; n++) {
      const tick = el("span", { className: "tick" }, (n * step).toFixed(digits));
      tick.style.left = ((n * step - a) / span) * 100 + "%";
      axis.append(tick);
    }
  }

  // ---- operations -----------------------------------------------------------------------------------------
  const laneHeight = (workload) => Math.max(5, Math.min(16, Math.floor(420 / workload.labels.length)));
  function colours() {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(name).trim();
    return { kinds: [of("--ok"), of("--fail"), of("--info")], fg: of("--fg"), mark: of("--mark"), line: of("--line") };
  }
  function drawLanes(canvas) {
    const workload = data.workloads[+canvas.dataset.workload];
    const height = laneHeight(workload), ratio = window.devicePixelRatio || 1;
    const width = canvas.clientWidth || canvas.parentElement.clientWidth;
    const tall = height * workload.labels.length + 2;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(tall * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(tall * ratio);
      canvas.style.height = tall + "px";
    }
    const c = canvas.getContext("2d");
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, width, tall);
    const { kinds, fg, mark, line } = colours();
    const scale = width / (view.b - view.a), x = (s) => (s - view.a) * scale;
    c.fillStyle = "rgba(136,136,136,.22)";
    for (const fault of data.faults) {
      if (fault.end_s >= view.a && fault.start_s <= view.b) {
        c.fillRect(x(fault.start_s), 0, Math.max(1, x(fault.end_s) - x(fault.start_s)), tall);
      }
    }
    c.fillStyle = line;
    for (let lane = 1; lane < workload.labels.length; lane++) c.fillRect(0, lane * height, width, 0.5);
    // Of what falls onto one pixel of a lane, the first is drawn, and whatever is worse than it.
    const last = new Float64Array(workload.labels.length * 3).fill(-1);
    const special = [];
    for (let i = firstAtLeast(workload.reach, view.a); i < workload.count && workload.start[i] <= view.b; i++) {
      if (workload.end[i] < view.a) continue;
      if (workload.witness[i] || isPicked(workload, i)) special.push(i);
      const kind = workload.outcome[i], slot = workload.lane[i] * 3 + kind;
      const from = Math.max(-2, x(workload.start[i])), to = Math.min(width + 2, x(workload.end[i]));
      if (to < last[slot] + 0.5 && !matches) continue;
      last[slot] = Math.max(last[slot], to);
      bar(c, kinds, kind, from, to, workload.lane[i] * height, height, matches && !matches.has(workload.name + ":" + i));
    }
    for (const i of special) {
      const from = x(workload.start[i]), wide = Math.max(3, x(workload.end[i]) - from), top = workload.lane[i] * height;
      c.strokeStyle = isPicked(workload, i) ? mark : fg;
      c.lineWidth = isPicked(workload, i) ? 3 : 1.5;
      c.strokeRect(from - 1.5, top + 0.5, wide + 3, height - 1);
    }
  }
  function bar(c, kinds, kind, from, to, top, height, dim) {
    const wide = Math.max(1, to - from);
    c.globalAlpha = dim ? 0.12 : 1;
    c.fillStyle = c.strokeStyle = kinds[kind];
    if (kind === 0) {
      c.fillRect(from, top + 2, wide, height - 4);
    } else if (kind === 1) {
      c.fillRect(from, top + height / 2, wide, height / 2 - 1);
    } else {
      c.lineWidth = 1;
      c.strokeRect(from + 0.5, top + 2.5, Math.max(1, wide - 1), height - 5);
    }
    c.globalAlpha = 1;
  }
  function isPicked(workload, i) {
    return picked && picked.workload === workload && picked.i === i;
  }
  function hit(canvas, event) {
    const workload = data.workloads[+canvas.dataset.workload], box = canvas.getBoundingClientRect();
    const lane = Math.floor((event.clientY - box.top) / laneHeight(workload));
    const perPixel = (view.b - view.a) / box.width, at = view.a + (event.clientX - box.left) * perPixel;
    let best = null, distance = 6 * perPixel;
    for (let i = firstAtLeast(workload.reach, at - distance); i < workload.count; i++) {
      if (workload.start[i] > at + distance) break;
      if (workload.lane[i] !== lane) continue;
      const away = Math.max(workload.start[i] - at, at - workload.end[i], 0);
      // Of several at the same place a witness is meant, else the last, which began nearest.
      if (away < distance || (away === distance && !(best !== null && workload.witness[best]))) {
        distance = away;
        best = i;
      }
    }
    return best === null ? null : { workload, i: best };
  }

  // Which process acts in which lane stands beside them.
  for (const canvas of canvases) {
    const workload = data.workloads[+canvas.dataset.workload], height = laneHeight(workload);
    if (height < 11) continue;
    const label = canvas.closest(".row").querySelector(".label");
    workload.labels.forEach((text, lane) => {
      const node = el("span", { className: "lane" }, text);
      node.style.top = lane * height + "px";
      label.append(node);
    });
  }

  // ---- what is picked -------------------------------------------------------------------------------------
  function pick(workload, i, look) {
    picked = { workload, i };
    const from = workload.start[i], to = workload.end[i], id = idOf(workload, i);
    if (look) {
      const around = Math.max((to - from) * 4, 0.1);
      show(from - around, to + around);
    } else {
      show(view.a, view.b);
    }
    const faults = data.faults.map((fault, number) => [fault, number]).filter(([f]) => f.start_s <= to && f.end_s >= from);
    const witness = witnessOf.get(workload.name + ":" + id);
    const step = (by) => {
      for (let n = i + by; n >= 0 && n < workload.count; n += by) {
        if (workload.process[n] === workload.process[i]) return n;
      }
      return null;
    };
    const beside = [["before", step(-1)], ["after", step(1)]].filter(([, n]) => n !== null)
      .map(([word, n]) => el("a", { href: `#op=${workload.name}:${idOf(workload, n)}` }, `the process's operation ${word}`));
    panel(
      el("p", {}, el("strong", {}, `${workload.name} #${id}: ${OUTCOMES[workload.outcome[i]]}`),
        `  process ${workload.process[i]}${nodeOf(workload, i)}, ${seconds(from, 6)} to ${seconds(to, 6)} (${((to - from) * 1000).toFixed(3)} ms)`),
      el("p", {}, textOf(workload, i)),
      ...(faults.length ? [el("p", {}, "while: ", ...faults.flatMap(([fault, number]) =>
        [el("a", { href: `#show-fault=${number}` }, fault.name), "  "]))] : []),
      ...(witness === undefined ? [] : [el("p", {}, "in the evidence of ",
        el("a", { href: `#anomaly-${witness}` }, `${data.witnesses[witness].kind} in ${data.witnesses[witness].workload}`))]),
      el("p", {}, ...beside.flatMap((link) => [link, "   "]), el("a", { href: "#logs" }, "the logs of this time")),
    );
    remember(`#op=${workload.name}:${id}`);
  }
  function pickFault(number, look) {
    const fault = data.faults[number];
    if (!fault) return;
    picked = null;
    if (look) show(fault.start_s - 1, fault.end_s + 2);
    for (const band of all(".band")) band.classList.toggle("picked", +band.dataset.fault === number);
    const row = $("fault-" + number);
    const cells = row ? [...row.cells].map((cell) => cell.textContent.trim()) : [];
    const heads = row ? [...row.parentElement.rows[0].cells].map((cell) => cell.textContent.trim()) : [];
    panel(
      el("p", {}, el("strong", {}, fault.name), `  ${seconds(fault.start_s)} to ${seconds(fault.end_s)}`),
      el("p", {}, heads.map((head, n) => [head, cells[n]]).slice(3).filter(([, cell]) => cell)
        .map(([head, cell]) => `${head}: ${cell}`).join("; ")),
      el("p", {}, el("a", { href: "#fault-" + number }, "its row in the table"), "   ",
        el("a", { href: "#logs" }, "the logs of this time")),
    );
    remember(`#show-fault=${number}`);
  }
  function showWitness(number) {
    const witness = data.witnesses[number];
    const workload = witness && data.workloads.find((one) => one.name === witness.workload);
    if (!workload) return;
    let from = Infinity, to = -Infinity, first = null;
    for (const id of witness.operations) {
      const i = placeOf(workload, id);
      if (i === null) continue;
      first = first === null ? i : first;
      from = Math.min(from, workload.start[i]);
      // One that never ended would stretch the view to the end of the run.
      to = Math.max(to, workload.outcome[i] === 2 ? workload.start[i] : workload.end[i]);
    }
    if (first === null) return;
    pick(workload, first, false);
    const around = Math.max((to - from) * 0.15, 0.02);
    show(from - around, to + around);
    remember(`#witness=${number}`);
  }
  function placeOf(workload, id) {
    if (!workload.id) return id < workload.count ? id : null;
    const i = firstAtLeast(workload.id, id);
    return workload.id[i] === id ? i : null;
  }
  function panel(...children) {
    const close = el("button", { type: "button", className: "close", title: "close (Esc)" }, "×");
    close.addEventListener("click", unpick);
    $("pick").replaceChildren(close, ...children);
    $("pick").hidden = false;
  }
  function unpick() {
    picked = null;
    $("pick").hidden = true;
    for (const band of all(".band.picked")) band.classList.remove("picked");
    show(view.a, view.b);
  }

  // ---- logs -----------------------------------------------------------------------------------------------
  const lines = data.logs.flatMap((log) => log.lines.map(([at, text]) => ({ at, text, node: log.node })));
  lines.sort((one, other) => one.at - other.at);
  const times = lines.map((line) => line.at);
  let timer = null;
  function logLines() {
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (!lines.length) return;
      const from = firstAtLeast(times, view.a), to = firstAtLeast(times, view.b + 1e-9);
      const shown = lines.slice(from, Math.min(to, from + LINES_MAX));
      const left = data.logs.reduce((sum, log) => sum + log.left_out, 0);
      const head = el("p", { className: "note" }, `${to - from} lines of all nodes from ${seconds(view.a)} to ${seconds(view.b)}`
        + (to - from > LINES_MAX ? `; the first ${LINES_MAX}: zoom in for the others` : "")
        + (left ? `; ${left} lines far from any fault, election or witness are left out of this page` : ""));
      $("loglines").replaceChildren(head, ...shown.map((line) => {
        const when = el("span", { className: "when", title: "show this moment" }, line.at.toFixed(3).padStart(9));
        when.addEventListener("click", () => { show(line.at - 0.5, line.at + 0.5); $("timeline").scrollIntoView(); });
        const bad = /^\s*(WARN|ERROR|FATAL|PANIC|DPANIC)\b|panicked/.test(line.text);
        return el("p", { className: bad ? "bad" : "" }, when, ` ${line.node}  `, line.text);
      }));
      $("loglines").hidden = false;
    }, 80);
  }

  // ---- hands ----------------------------------------------------------------------------------------------
  const stack = $("stack");
  const timeAt = (clientX) => {
    const box = axis.getBoundingClientRect();
    return view.a + ((clientX - box.left) / box.width) * (view.b - view.a);
  };
  stack.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && !event.metaKey) {
      if (Math.abs(event.deltaX) <= Math.abs(event.deltaY)) return;
      event.preventDefault();
      shift(event.deltaX / axis.clientWidth);
      return;
    }
    event.preventDefault();
    zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) / 120), timeAt(event.clientX));
  }, { passive: false });
  const fingers = new Map();
  let moved = 0;
  stack.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    moved = 0;
    fingers.set(event.pointerId, event.clientX);
  });
  window.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (before === undefined) return;
    const span = view.b - view.a, perPixel = span / axis.clientWidth;
    moved += Math.abs(event.clientX - before);
    fingers.set(event.pointerId, event.clientX);
    if (fingers.size === 1) {
      if (moved > 4) show(view.a - (event.clientX - before) * perPixel, view.b - (event.clientX - before) * perPixel);
    } else if (fingers.size === 2) {
      const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
      const old = Math.abs(before - other), now = Math.abs(event.clientX - other);
      if (old > 4 && now > 4) zoom(old / now, timeAt(other));
    }
  });
  for (const name of ["pointerup", "pointercancel"]) {
    window.addEventListener(name, (event) => fingers.delete(event.pointerId));
  }
  stack.addEventListener("click", (event) => {
    if (moved > 4) { event.preventDefault(); return; }
    const band = event.target.closest(".band");
    if (band) { event.preventDefault(); pickFault(+band.dataset.fault, false); return; }
    if (event.target.tagName !== "CANVAS") return;
    const found = hit(event.target, event);
    if (found) pick(found.workload, found.i, false); else unpick();
  });
  stack.addEventListener("dblclick", (event) => zoom(0.35, timeAt(event.clientX)));
  stack.addEventListener("dragstart", (event) => event.preventDefault());
  for (const canvas of canvases) {
    canvas.addEventListener("mousemove", (event) => {
      const found = fingers.size ? null : hit(canvas, event);
      canvas.title = found ? `#${idOf(found.workload, found.i)} ${textOf(found.workload, found.i)}` : "";
    });
  }
  const actions = {
    in: () => zoom(0.5), out: () => zoom(2), left: () => shift(-0.5), right: () => shift(0.5), all: () => show(0, END),
  };
  for (const button of all("[data-zoom]")) button.addEventListener("click", actions[button.dataset.zoom]);
  const keys = { "+": "in", "=": "in", "-": "out", ArrowLeft: "left", ArrowRight: "right", 0: "all" };
  stack.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    actions[keys[event.key]]();
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") unpick(); });
  $("find").addEventListener("input", () => {
    const wanted = $("find").value.trim().toLowerCase();
    matches = null;
    $("found").value = "";
    if (wanted) {
      matches = new Set();
      for (const workload of data.workloads) {
        // Whole words, so that k1 does not find k10.
        const quoted = wanted.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
        const word = new RegExp(`(^|[^a-z0-9])${quoted}($|[^a-z0-9])`);
        const texts = workload.texts.map((text) => word.test(text.toLowerCase()));
        for (let i = 0; i < workload.count; i++) {
          if (texts[workload.text[i]] || "p" + workload.process[i] === wanted || "#" + idOf(workload, i) === wanted) {
            matches.add(workload.name + ":" + i);
          }
        }
      }
      $("found").value = `${matches.size} found`;
    }
    show(view.a, view.b);
  });

  // ---- links ----------------------------------------------------------------------------------------------
  let own = "";
  function remember(hash) {
    own = hash;
    // A page in a sandbox may not touch its address: the links within it work all the same.
    try { history.replaceState(null, "", hash); } catch { /* nothing is lost */ }
  }
  function follow() {
    const hash = decodeURIComponent(location.hash);
    if (hash === own) return;
    const timeline = () => $("timeline").scrollIntoView();
    let found;
    if ((found = /^#op=(.+):(\d+)$/.exec(hash))) {
      const workload = data.workloads.find((one) => one.name === found[1]);
      const i = workload ? placeOf(workload, +found[2]) : null;
      if (i !== null) { timeline(); pick(workload, i, true); }
    } else if ((found = /^#show-fault=(\d+)$/.exec(hash))) {
      timeline();
      pickFault(+found[1], true);
    } else if ((found = /^#witness=(\d+)$/.exec(hash))) {
      timeline();
      showWitness(+found[1]);
    } else if ((found = /^#t=([\d.]+)-([\d.]+)$/.exec(hash))) {
      timeline();
      show(+found[1], +found[2]);
    }
  }
  window.addEventListener("hashchange", () => { own = ""; follow(); });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#']");
    // The same link again changes no address, and is to work again.
    if (link && link.getAttribute("href") === location.hash) { own = ""; follow(); }
  });
  let width = 0;
  new ResizeObserver(() => {
    if (axis.clientWidth !== width) { width = axis.clientWidth; show(view.a, view.b); }
  }).observe(axis);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => show(view.a, view.b));
  for (const node of all(".tools, .hint")) node.hidden = false;
  draw();
  follow();
  document.documentElement.dataset.ready = Math.round(performance.now());
})();
