// What all explorables share: a plot, labelled controls beside it, a line that says the numbers.

const STYLE = `
.fm-explorable { display: flex; flex-wrap: wrap; gap: 0.75rem 1.5rem; align-items: flex-start;
  max-width: 46rem; margin: 0.5rem 0 1rem; font-size: 0.95rem; line-height: 1.4; }
.fm-plot { position: relative; flex: 1 1 18rem; min-width: 0; max-width: 28rem; }
.fm-plot canvas { display: block; width: 100%; border-radius: 4px;
  box-shadow: 0 0 0 1px color-mix(in srgb, currentColor 45%, transparent); }
.fm-side { flex: 1 1 13rem; min-width: 0; display: grid; gap: 0.6rem; }
.fm-side label { display: grid; grid-template-columns: 1fr auto; gap: 0 0.75rem; }
.fm-side input, .fm-side select { grid-column: 1 / -1; width: 100%; margin: 0.15rem 0; }
.fm-side input { accent-color: #0072b2; min-height: 1.6rem; }
.fm-side select, .fm-side button { font: inherit; color: inherit; padding: 0.3rem 0.7rem;
  background: transparent; border: 1px solid currentColor; border-radius: 4px; min-height: 2rem; }
.fm-side select option { color: black; background: white; }
.fm-side button { cursor: pointer; }
.fm-buttons { display: flex; flex-wrap: wrap; gap: 0.5rem; }
.fm-side output, .fm-side label span:last-of-type { font-variant-numeric: tabular-nums; }
.fm-side output { min-height: 2.8em; white-space: pre-line; }
.fm-side p { margin: 0; opacity: 0.85; }
.fm-side table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
.fm-side th, .fm-side td { padding: 0.1rem 0.4rem; text-align: right; font-weight: normal; }
.fm-side th:first-child { text-align: left; }
.fm-side tr.fm-best * { font-weight: bold; }
.fm-side tr.fm-shown { outline: 1px solid currentColor; }
.fm-handle { position: absolute; width: 30px; height: 30px; margin: -15px 0 0 -15px; padding: 0;
  border: 2px solid currentColor; border-radius: 50%; background: transparent; color: inherit; cursor: grab;
  touch-action: none; }
.fm-explorable :focus-visible { outline: 3px solid #e69f00; outline-offset: 2px; }
`;

// fmlib.plotting's colours, and lighter ones of the same hue for a dark page.
const COLORS = {
  light: {
    paper: "#ffffff", ink: "#000000", faint: "#b5b5b5", source: "#0072b2", target: "#d55e00",
    paths: { CondOT: "#009e73", VP: "#aa4499", Cosine: "#56b4e9" },
    time: ["#00224e", "#3c4a6c", "#727274", "#a79d73", "#e5cf52"],
  },
  dark: {
    paper: "#14181e", ink: "#ffffff", faint: "#5d6570", source: "#56b4f0", target: "#ff8a3c",
    paths: { CondOT: "#2fc79c", VP: "#dd7ecb", Cosine: "#8fd0f5" },
    time: ["#6f8fd8", "#8a93b0", "#a3a3a0", "#c0b583", "#f0da60"],
  },
};

const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// box: [left, right, bottom, top] of the plot; paint() draws it, from the controls' values.
class Stage {
  constructor(root, { alt, box, hint = "" }) {
    this.root = root;
    this.box = box;
    this.canvas = element("canvas", { role: "img", "aria-label": alt });
    this.canvas.style.aspectRatio = `${box[1] - box[0]} / ${box[3] - box[2]}`;
    this.plot = element("div", { class: "fm-plot" }, this.canvas);
    this.output = element("output", { "aria-live": "polite" });
    this.side = element("div", { class: "fm-side" }, this.output, element("p", {}, hint));
    root.replaceChildren(element("style", {}, STYLE), this.plot, this.side);
    root.dataset.lmSuppressShortcuts = "true"; // JupyterLab would take keys for its commands
    for (const type of ["focusin", "keydown"]) { // and focus for the cell
      root.addEventListener(type, (event) => event.stopPropagation());
    }
    this.pen = this.canvas.getContext("2d");
    this.paint = () => {};
    this.waiting = 0;
    this.#hideStillPicture();
    new ResizeObserver(() => this.redraw()).observe(this.canvas);
    const redraw = () => this.redraw();
    const themes = new MutationObserver(redraw);
    for (const node of [document.documentElement, document.body]) {
      themes.observe(node, { attributeFilter: ["class", "data-theme", "data-jp-theme-light"] });
    }
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  }

  #hideStillPicture() { // it stands before this output, in the same cell
    const cell = this.root.closest(".jp-OutputArea, .cell_output");
    for (const image of cell?.querySelectorAll("img") ?? []) {
      (image.closest(".jp-OutputArea-child") ?? image).style.display = "none";
    }
  }

  // ---- controls

  #add(control) {
    this.output.before(control);
  }

  slider({ name, label, min, max, step, value, format = String }) {
    const input = element("input", { type: "range", name, min, max, step, value });
    const shown = element("span");
    const show = () => {
      shown.textContent = format(input.valueAsNumber);
      input.setAttribute("aria-valuetext", shown.textContent);
    };
    input.addEventListener("input", () => (show(), this.redraw()));
    show();
    this.#add(element("label", {}, element("span", {}, label), shown, input));
    return {
      get value() { return input.valueAsNumber; },
      set value(number) { input.value = number; show(); },
      input,
    };
  }

  menu({ name, label, options, value = options[0] }) {
    const select = element("select", { name }, ...options.map((o) => element("option", {}, o)));
    select.value = value;
    select.addEventListener("change", () => this.redraw());
    if (options.length > 1) this.#add(element("label", {}, element("span", {}, label), select));
    return select;
  }

  solver({ n_steps, method }) { // how the field is followed
    const options = Object.keys(SOLVERS);
    return {
      steps: this.slider({
        name: "n_steps", label: "Steps", min: 1, max: 40, step: 1, value: n_steps,
      }),
      method: this.menu({ name: "method", label: "Solver", options, value: method }),
    };
  }

  buttons(actions) { // { text: what it does }
    const made = Object.entries(actions).map(([text, act]) => {
      const button = element("button", { type: "button" }, text);
      button.addEventListener("click", act);
      return button;
    });
    this.#add(element("div", { class: "fm-buttons" }, ...made));
  }

  say(text) {
    if (this.output.textContent !== text) this.output.textContent = text;
  }

  // A point to drag with mouse, finger or arrow keys: moved(x, y, byPointer), then released().
  handle({ label, x, y, moved, released = () => {} }) {
    const [left, right, bottom, top] = this.box;
    const keys = `${label}. Move it with the arrow keys.`;
    const button = element("button", { type: "button", class: "fm-handle", "aria-label": keys });
    const place = (newX, newY, byPointer) => {
      [x, y] = [Math.min(Math.max(newX, left), right), Math.min(Math.max(newY, bottom), top)];
      button.style.left = `${(100 * (x - left)) / (right - left)}%`;
      button.style.top = `${(100 * (top - y)) / (top - bottom)}%`;
      moved(x, y, byPointer);
      this.redraw();
    };
    for (const target of [button, this.canvas]) {
      const follow = (event) => place(...this.where(event), true);
      target.addEventListener("pointerdown", (event) => {
        target.setPointerCapture(event.pointerId);
        if (target === this.canvas) follow(event);
      });
      target.addEventListener("pointermove", (event) => {
        if (target.hasPointerCapture(event.pointerId)) follow(event);
      });
      target.addEventListener("lostpointercapture", released);
    }
    button.addEventListener("keydown", (event) => {
      if (!(event.key in ARROWS)) return;
      event.preventDefault();
      const step = (event.shiftKey ? 0.1 : 0.02) * (right - left), [dx, dy] = ARROWS[event.key];
      place(x + step * dx, y + step * dy, false);
    });
    this.plot.append(button);
    place(x, y, false);
    return button;
  }

  where(event) { // a pointer's place in the plot's coordinates
    const frame = this.canvas.getBoundingClientRect(), [left, right, bottom, top] = this.box;
    return [
      left + ((event.clientX - frame.left) / frame.width) * (right - left),
      top - ((event.clientY - frame.top) / frame.height) * (top - bottom),
    ];
  }

  // ---- time

  redraw() {
    this.waiting ||= requestAnimationFrame(() => this.paintNow());
  }

  paintNow() {
    cancelAnimationFrame(this.waiting);
    this.waiting = 0;
    const { width, height } = this.canvas.getBoundingClientRect();
    if (!width) return;
    const ratio = devicePixelRatio, [left, right, , top] = this.box;
    const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.canvas.width !== w || this.canvas.height !== h) {
      Object.assign(this.canvas, { width: w, height: h });
    }
    this.unit = width / (right - left); // pixels of one unit of length
    const [red, green, blue] = getComputedStyle(this.root).color.match(/[\d.]+/g).map(Number);
    this.colors = COLORS[red + green + blue > 384 ? "dark" : "light"];
    this.pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.pen.globalAlpha = 1;
    this.pen.fillStyle = this.colors.paper;
    this.pen.fillRect(0, 0, width, height);
    this.pen.setTransform(ratio, 0, 0, ratio, -left * this.unit * ratio, top * this.unit * ratio);
    this.paint();
  }

  // Call tick(progress) on every frame, from 0 to 1, then done(); at once where motion is unwanted.
  play(seconds, tick, done = () => {}) {
    this.stop();
    this.output.setAttribute("aria-live", "off"); // read out where it ends, not every frame
    const start = performance.now();
    const frame = (now) => {
      const progress = calm() ? 1 : Math.min(1, Math.max(0, (now - start) / (1000 * seconds)));
      if (progress === 1) this.stop();
      else this.running = requestAnimationFrame(frame);
      tick(progress);
      this.paintNow();
      if (progress === 1) done();
    };
    this.running = requestAnimationFrame(frame);
  }

  stop() {
    cancelAnimationFrame(this.running);
    this.running = 0;
    this.output.setAttribute("aria-live", "polite");
  }

  // ---- drawing, in the plot's coordinates

  timeColor(t) {
    if (t <= 0) return this.colors.source;
    if (t >= 1) return this.colors.target;
    const stops = this.colors.time, at = t * (stops.length - 1), i = Math.floor(at);
    const channel = (color, k) => parseInt(color.slice(2 * k + 1, 2 * k + 3), 16);
    const mixed = [0, 1, 2].map((k) =>
      Math.round(channel(stops[i], k) + (at - i) * (channel(stops[i + 1], k) - channel(stops[i], k))));
    return `rgb(${mixed})`;
  }

  dots(x, color, radius = 2, alpha = 0.85) {
    const { pen, unit } = this;
    pen.globalAlpha = alpha;
    pen.fillStyle = color;
    pen.beginPath();
    for (let i = 0; i < x.length; i += 2) {
      pen.moveTo(x[i] * unit + radius, -x[i + 1] * unit);
      pen.arc(x[i] * unit, -x[i + 1] * unit, radius, 0, 2 * Math.PI);
    }
    pen.fill();
  }

  line(x, color, width = 1, alpha = 1, dash = []) {
    const { pen, unit } = this;
    Object.assign(pen, { globalAlpha: alpha, strokeStyle: color, lineWidth: width });
    pen.setLineDash(dash);
    pen.beginPath();
    for (let i = 0; i < x.length; i += 2) pen.lineTo(x[i] * unit, -x[i + 1] * unit);
    pen.stroke();
    pen.setLineDash([]);
  }

  // The way of point i through the states of solve, as one line.
  way(states, i) {
    return states.flatMap((x) => [x[2 * i], x[2 * i + 1]]);
  }

  arrow(x, y, dx, dy, color, width = 1.2, head = 5) {
    this.line([x, y, x + dx, y + dy], color, width);
    const length = Math.hypot(dx, dy), size = Math.min(head / this.unit, length / 2);
    if (!size) return;
    const [ex, ey] = [dx / length, dy / length];
    const side = (s) => [x + dx - size * (ex - s * ey), y + dy - size * (ey + s * ex)];
    this.line([...side(0.6), x + dx, y + dy, ...side(-0.6)], color, width);
  }

  grid(n) { // the middles of n by n cells of the plot, in rows from the top
    const [left, right, bottom, top] = this.box, x = new Float64Array(2 * n * n);
    for (let i = 0; i < n * n; i++) {
      x[2 * i] = left + ((right - left) * ((i % n) + 0.5)) / n;
      x[2 * i + 1] = top - ((top - bottom) * (Math.floor(i / n) + 0.5)) / n;
    }
    return x;
  }

  // Arrows of a field on an n by n grid; `scale` units of velocity are one width of the plot.
  field(velocity, t, { n = 13, scale = 60, color = this.colors.faint } = {}) {
    const [left, right] = this.box, x = this.grid(n);
    const u = velocity(x, t), length = (right - left) / scale;
    for (let i = 0; i < x.length; i += 2) {
      this.arrow(x[i], x[i + 1], length * u[i], length * u[i + 1], color, 1, 4);
    }
  }

  // Shade exp(logProb) over the plot, on a grid of n by n, darkest where it is largest.
  shade(logProb, n = 32) {
    const [left, right, bottom, top] = this.box;
    const value = logProb(this.grid(n)), most = Math.max(...value);
    const image = new ImageData(n, n), ink = this.colors.ink === "#000000" ? 0 : 255;
    value.forEach((v, i) => image.data.set([ink, ink, ink, 90 * Math.exp(v - most)], 4 * i));
    this.shading ??= element("canvas", { width: n, height: n });
    this.shading.getContext("2d").putImageData(image, 0, 0);
    this.pen.globalAlpha = 1;
    const { unit } = this;
    this.pen.drawImage(
      this.shading, left * unit, -top * unit, (right - left) * unit, (top - bottom) * unit);
  }
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] };
const fixed = (value, digits = 2) => value.toFixed(digits).replace("-", "\u2212");
const short = (value) => {
  if (value < 1e-9) return "0";
  return value < 1e-3 ? value.toExponential(1).replace("-", "\u2212") : value.toPrecision(2);
};
