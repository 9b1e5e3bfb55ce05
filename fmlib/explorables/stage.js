// What all explorables share: a plot, labelled controls beside it, a line that says the numbers.
import { makePace } from "./maths/pace.js";
import { SOLVERS } from "./maths/solvers.js";
import { Plot } from "./plot.js";
import { element, STYLE } from "./style.js";

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] };
const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

export class Stage extends Plot {
  constructor(root, { hint = "", ...plot }) {
    super(root, plot);
    this.plot = element("div", { class: "fm-plot" }, this.canvas);
    this.output = element("output", { "aria-live": "polite" });
    this.side = element("div", { class: "fm-side" }, this.output, element("p", {}, hint));
    root.replaceChildren(element("style", {}, STYLE), this.plot, this.side);
    root.dataset.lmSuppressShortcuts = "true"; // JupyterLab would take keys for its commands
    for (const type of ["focusin", "keydown"]) { // and focus for the cell
      root.addEventListener(type, (event) => event.stopPropagation());
    }
    this.waiting = this.running = 0; // the next frame's number, of a still picture, of a moving one
    this.held = false; // a slider, by its user
    this.pace = makePace();
    this.clock = () => performance.now();
    this.share = () => (this.moving ? this.pace.share() : 1);
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
    const move = (held) => (show(), (this.held = held), this.redraw());
    input.addEventListener("input", () => move(true));
    input.addEventListener("change", () => move(false));
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

  get moving() {
    return Boolean(this.running || this.held);
  }

  // How many of n points to show: all at rest; in motion, as many as this machine has time for.
  some(n) {
    return Math.ceil(n * this.share());
  }

  #frame(work) { // its time says how many points the next one may have
    const { moving } = this, begin = this.clock();
    work();
    if (moving) this.pace.spent(this.clock() - begin);
  }

  redraw() {
    this.waiting ||= requestAnimationFrame(() => this.#frame(() => this.paintNow()));
  }

  paintNow() {
    cancelAnimationFrame(this.waiting);
    this.waiting = 0;
    super.paintNow();
  }

  // Call tick(progress) on every frame, from 0 to 1; once, with 1, where motion is unwanted.
  play(seconds, tick) {
    this.stop();
    this.output.setAttribute("aria-live", "off"); // read out where it ends, not every frame
    const start = performance.now();
    const frame = (now) => {
      const progress = calm() ? 1 : Math.min(1, Math.max(0, (now - start) / (1000 * seconds)));
      if (progress === 1) this.stop();
      else this.running = requestAnimationFrame(frame);
      this.#frame(() => {
        tick(progress);
        this.paintNow();
      });
    };
    this.running = requestAnimationFrame(frame);
  }

  stop() {
    cancelAnimationFrame(this.running);
    this.running = 0;
    this.output.setAttribute("aria-live", "polite");
  }
}
