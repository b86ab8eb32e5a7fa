"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const state = { axis: "minutes", hidden: new Set() };
  const NS = "http://www.w3.org/2000/svg";
  const LEFT = 46, RIGHT = 10, TOP = 10, BOTTOM = 30;
  const AXIS_NAMES = { minutes: "minutes", env_steps: "environment steps" };

  // ------------------------------------------------------------ small helpers

  function element(name, attributes, parent, text) {
    const made = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  }

  function short(value) {
    const size = Math.abs(value);
    if (size >= 1e9) return trim(value / 1e9) + "G";
    if (size >= 1e6) return trim(value / 1e6) + "M";
    if (size >= 1e4) return trim(value / 1e3) + "k";
    if (size > 0 && size < 1e-3) return value.toExponential(1).replace(".0e", "e");
    return trim(value);
  }

  function trim(value) {
    return String(Number(value.toPrecision(4)));
  }

  // Steps of 1, 2 or 5 times a power of ten.
  function ticks(low, high, wanted) {
    const rough = (high - low) / wanted;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((x) => x * power).find((x) => x >= rough * 0.999);
    const found = [];
    for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-6; k++) found.push(k * step);
    return found;
  }

  function logTicks(low, high) {
    const first = Math.ceil(low - 1e-9), last = Math.floor(high + 1e-9);
    if (last <= first) {
      const found = [];
      for (let k = Math.floor(low); k <= high; k++) {
        for (const digit of [1, 2, 5]) found.push(k + Math.log10(digit));
      }
      const inside = found.filter((x) => x >= low && x <= high);
      return inside.length > 1 ? inside : ticks(low, high, 3);
    }
    const every = Math.ceil((last - first + 1) / 5);
    const found = [];
    for (let k = first; k <= last; k += every) found.push(k);
    return found;
  }

  // ------------------------------------------------------------ what a chart draws

  function collect(metric, task, log) {
    const usable = (y) => y !== null && y !== undefined && (!log || y > 0);
    const lines = [], areas = [];
    data.runs.forEach((run) => {
      if (run.task !== task || state.hidden.has(run.group)) return;
      const band = (data.groups[run.group].bands[metric] || {})[state.axis];
      const points = [];
      run.x[state.axis].forEach((x, i) => {
        const y = run.metrics[metric][i];
        if (usable(y)) points.push([x, y]);
      });
      const single = data.runs.filter((other) => other.group === run.group).length === 1;
      const name = single ? data.groups[run.group].label : "seed " + run.seed;
      if (points.length) lines.push({ group: run.group, name, points, thin: Boolean(band) });
    });
    data.groups.forEach((group, place) => {
      const band = (group.bands[metric] || {})[state.axis];
      if (!band || group.task !== task || state.hidden.has(place)) return;
      const mean = [], low = [], high = [];
      band.positions.forEach((x, i) => {
        if (!usable(band.mean[i]) || !usable(band.low[i])) return;
        mean.push([x, band.mean[i]]);
        low.push([x, band.low[i]]);
        high.push([x, band.high[i]]);
      });
      if (!mean.length) return;
      areas.push({ group: place, low, high });
      lines.push({ group: place, name: group.label, points: mean, mean: true });
    });
    return { lines, areas };
  }

  function range(drawn, log) {
    let right = 0, low = Infinity, high = -Infinity;
    const take = ([x, y]) => {
      const value = log ? Math.log10(y) : y;
      right = Math.max(right, x);
      low = Math.min(low, value);
      high = Math.max(high, value);
    };
    drawn.lines.forEach((line) => line.points.forEach(take));
    drawn.areas.forEach((area) => { area.low.forEach(take); area.high.forEach(take); });
    if (!log && low > 0 && low < 0.4 * high) low = 0;
    if (high - low < 1e-12) { high += Math.abs(high) * 0.1 || 1; low -= Math.abs(low) * 0.1; }
    const margin = 0.04 * (high - low);
    return { right: right || 1, low: low === 0 ? 0 : low - margin, high: high + margin };
  }

  // ------------------------------------------------------------ drawing

  function draw(figure) {
    const plot = figure.querySelector(".plot");
    const log = figure.querySelector(".log").getAttribute("aria-pressed") === "true";
    const width = plot.clientWidth, height = plot.clientHeight;
    if (width < 20) return; // inside a closed <details>
    plot.replaceChildren();
    const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" }, plot);
    const name = figure.querySelector("figcaption b").textContent;
    svg.setAttribute("aria-label", `${name} against ${AXIS_NAMES[state.axis]}`);
    const drawn = collect(figure.dataset.metric, figure.dataset.task, log);
    if (!drawn.lines.length) {
      element("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, svg, "nothing to draw");
      return;
    }
    const bounds = range(drawn, log);
    const px = (x) => LEFT + (x / bounds.right) * (width - LEFT - RIGHT);
    const py = (y) => {
      const value = log ? Math.log10(y) : y;
      return TOP + (1 - (value - bounds.low) / (bounds.high - bounds.low)) * (height - TOP - BOTTOM);
    };
    grid(svg, bounds, log, width, height, px);
    for (const area of drawn.areas) {
      const path = [...area.high, ...area.low.slice().reverse()];
      element("polygon", { class: `area c${area.group % 8}`, points: text(path, px, py) }, svg);
    }
    for (const line of drawn.lines) {
      const style = line.mean ? "2.2" : line.thin ? "0.8" : "1.6";
      const made = { class: `line c${line.group % 8}`, "stroke-width": style, points: text(line.points, px, py) };
      if (line.thin) made.opacity = "0.4";
      element("polyline", made, svg);
      if (line.points.length === 1) {
        const [x, y] = line.points[0];
        element("circle", { class: `c${line.group % 8}`, cx: px(x), cy: py(y), r: 3, fill: "currentColor" }, svg);
      }
    }
    hover(plot, svg, drawn, bounds, px, py, width, height);
  }

  function text(points, px, py) {
    return points.map(([x, y]) => `${px(x).toFixed(1)},${py(y).toFixed(1)}`).join(" ");
  }

  function grid(svg, bounds, log, width, height, px) {
    const scale = (v) => TOP + (1 - (v - bounds.low) / (bounds.high - bounds.low)) * (height - TOP - BOTTOM);
    const marks = log ? logTicks(bounds.low, bounds.high) : ticks(bounds.low, bounds.high, 4);
    for (const mark of marks) {
      const y = scale(mark);
      element("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y, y2: y }, svg);
      const value = log ? Number((10 ** mark).toPrecision(2)) : mark;
      element("text", { x: LEFT - 6, y: y + 4, "text-anchor": "end" }, svg, short(value));
    }
    for (const mark of ticks(0, bounds.right, width < 340 ? 3 : 5)) {
      element("text", { x: px(mark), y: height - 14, "text-anchor": "middle" }, svg, short(mark));
    }
    const middle = (LEFT + width - RIGHT) / 2;
    element("text", { x: middle, y: height - 1, "text-anchor": "middle" }, svg, AXIS_NAMES[state.axis]);
  }

  function nearest(points, x) {
    let low = 0, high = points.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (points[middle][0] < x) low = middle; else high = middle;
    }
    return Math.abs(points[low][0] - x) < Math.abs(points[high][0] - x) ? points[low] : points[high];
  }

  function hover(plot, svg, drawn, bounds, px, py, width, height) {
    const tip = document.createElement("div");
    tip.className = "tip";
    tip.hidden = true;
    plot.append(tip);
    const cross = element("line", { class: "cross", y1: TOP, y2: height - BOTTOM, visibility: "hidden" }, svg);
    const dots = element("g", {}, svg);
    const leave = () => {
      tip.hidden = true;
      cross.setAttribute("visibility", "hidden");
      dots.replaceChildren();
    };
    plot.onpointerleave = leave;
    plot.onpointermove = (event) => {
      const offset = event.clientX - plot.getBoundingClientRect().left;
      const x = ((offset - LEFT) / (width - LEFT - RIGHT)) * bounds.right;
      if (x < 0 || x > bounds.right) return leave();
      cross.setAttribute("x1", px(x));
      cross.setAttribute("x2", px(x));
      cross.setAttribute("visibility", "visible");
      dots.replaceChildren();
      tip.replaceChildren();
      const head = document.createElement("div");
      head.textContent = `${short(x)} ${AXIS_NAMES[state.axis]}`;
      tip.append(head);
      for (const line of drawn.lines) {
        const [a, y] = nearest(line.points, x);
        if (line.points[line.points.length - 1][0] < x - 0.02 * bounds.right) continue;
        element("circle", { class: `c${line.group % 8}`, cx: px(a), cy: py(y), r: line.thin ? 2 : 3.5, fill: "currentColor" }, dots);
        const row = document.createElement("div");
        const swatch = document.createElement("i");
        swatch.className = `swatch c${line.group % 8}`;
        const value = document.createElement("b");
        value.textContent = short(y);
        row.append(swatch, value, " " + line.name);
        tip.append(row);
      }
      tip.hidden = false;
      const left = px(x) + 12;
      tip.style.left = Math.max(0, left + tip.offsetWidth > width ? px(x) - 12 - tip.offsetWidth : left) + "px";
    };
  }

  // ------------------------------------------------------------ controls

  const figures = [...document.querySelectorAll("figure[data-metric]")];
  const drawAll = () => figures.forEach(draw);

  document.querySelectorAll("[data-axis]").forEach((button) => {
    button.onclick = () => {
      state.axis = button.dataset.axis;
      document.querySelectorAll("[data-axis]").forEach((other) =>
        other.setAttribute("aria-pressed", String(other === button)));
      drawAll();
    };
  });
  document.querySelectorAll("[data-group]").forEach((button) => {
    button.onclick = () => {
      const group = Number(button.dataset.group);
      if (!state.hidden.delete(group)) state.hidden.add(group);
      button.setAttribute("aria-pressed", String(!state.hidden.has(group)));
      drawAll();
    };
  });
  figures.forEach((figure) => {
    const button = figure.querySelector(".log");
    button.onclick = () => {
      button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
      draw(figure);
    };
  });
  document.querySelectorAll("details").forEach((details) => details.addEventListener("toggle", drawAll));
  document.getElementById("theme").onclick = () => {
    const root = document.documentElement;
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  };
  let pending = 0;
  addEventListener("resize", () => {
    cancelAnimationFrame(pending);
    pending = requestAnimationFrame(drawAll);
  });
  drawAll();
})();
