// A canvas in the coordinates of a plot, on a light or a dark page.
import { timeColor } from "./maths/ramp.js";
import { element } from "./style.js";

// box: [left, right, bottom, top] of the plot; paint() draws it.  colors: {light, dark}, by name.
export class Plot {
  constructor(root, { alt, box, colors }) {
    this.root = root;
    this.box = box;
    this.schemes = colors;
    this.canvas = element("canvas", { role: "img", "aria-label": alt });
    this.canvas.style.aspectRatio = `${box[1] - box[0]} / ${box[3] - box[2]}`;
    this.pen = this.canvas.getContext("2d");
    this.paint = () => {};
    this.share = () => 1; // of a grid's points, what there is time for
  }

  paintNow() {
    const { width, height } = this.canvas.getBoundingClientRect();
    if (!width) return;
    const ratio = devicePixelRatio, [left, right, , top] = this.box;
    const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (this.canvas.width !== w || this.canvas.height !== h) {
      Object.assign(this.canvas, { width: w, height: h });
    }
    this.unit = width / (right - left); // pixels of one unit of length
    this.#chooseScheme();
    this.pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.pen.globalAlpha = 1;
    this.pen.fillStyle = this.colors.paper;
    this.pen.fillRect(0, 0, width, height);
    this.pen.setTransform(ratio, 0, 0, ratio, -left * this.unit * ratio, top * this.unit * ratio);
    this.paint();
  }

  #chooseScheme() {
    const [red, green, blue] = getComputedStyle(this.root).color.match(/[\d.]+/g).map(Number);
    const colors = this.schemes[red + green + blue > 384 ? "dark" : "light"];
    if (colors === this.colors) return;
    this.colors = colors;
    this.root.style.setProperty("--fm-focus", colors.focus);
  }

  // ---- drawing, in the plot's coordinates

  timeColor(t) {
    return timeColor(this.colors, t);
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

  affordable(n) { // a side of a grid whose full one is n
    return Math.ceil(n * Math.sqrt(this.share()));
  }

  // Arrows of a field on a grid of 13 by 13; `scale` units of velocity are one width of the plot.
  field(velocity, t, { scale = 60, color = this.colors.faint } = {}) {
    const [left, right] = this.box, x = this.grid(this.affordable(13));
    const u = velocity(x, t), length = (right - left) / scale;
    for (let i = 0; i < x.length; i += 2) {
      this.arrow(x[i], x[i + 1], length * u[i], length * u[i + 1], color, 1, 4);
    }
  }

  // Shade exp(logProb) over the plot, on a grid of n by n, darkest where it is largest.
  shade(logProb, n = this.affordable(32)) {
    const [left, right, bottom, top] = this.box;
    const value = logProb(this.grid(n)), most = Math.max(...value);
    const image = new ImageData(n, n), ink = parseInt(this.colors.ink.slice(1, 3), 16);
    value.forEach((v, i) => image.data.set([ink, ink, ink, 90 * Math.exp(v - most)], 4 * i));
    this.shading ??= element("canvas");
    Object.assign(this.shading, { width: n, height: n });
    this.shading.getContext("2d").putImageData(image, 0, 0);
    this.pen.globalAlpha = 1;
    const { unit } = this;
    this.pen.drawImage(
      this.shading, left * unit, -top * unit, (right - left) * unit, (top - bottom) * unit);
  }
}
