// Draw a target: the exact marginal flow from noise to it runs at once.
// data: points (n, 2) to begin with, std, path, box, n_particles, n_steps, most (points)
import { makeModel } from "./maths/draw.js";
import { Stage } from "./stage.js";
import { fixed } from "./style.js";

export function setup(root, data, { colors }) {
  const hint = "Draw on the picture with mouse or finger. By keyboard: choose the ring, " +
    "move it with the arrow keys, add a point with Enter.";
  const stage = new Stage(root, { alt: data.alt, box: data.box, hint, colors });
  const std = stage.slider({
    name: "std", label: "Width of a point", min: 0.02, max: 0.4, step: 0.02, value: data.std,
    format: fixed,
  });
  const model = makeModel(data);
  let points = data.points, seed = 1, run = {}, at = [data.box[0] / 2, data.box[2] / 2];
  const choice = () => ({ points, std: std.value, seed });
  const begin = () => (run = model.start(choice()));

  function rest() {
    stage.stop();
    begin();
    stage.redraw();
  }

  function flow() {
    if (!points.length) return rest();
    begin();
    stage.play(2.5, (progress) => model.advance(run, progress, stage.some(data.n_particles)));
  }

  const add = (x, y) => (points = [...points, [x, y]].slice(-data.most));
  const pen = stage.handle({
    label: "The pen", x: at[0], y: at[1],
    moved(x, y, drawing) {
      const last = points.at(-1);
      if (drawing && !(last && Math.hypot(x - last[0], y - last[1]) < 0.06)) (add(x, y), rest());
      at = [x, y];
    },
    released: flow,
  });
  pen.addEventListener("click", (event) => {
    if (event.detail === 0) (add(...at), flow()); // by keyboard
  });
  std.input.addEventListener("change", flow);
  stage.canvas.style.touchAction = "none"; // a finger draws here, and does not scroll
  stage.buttons({
    Run: flow,
    "Other noise": () => ((seed += 1), flow()),
    Clear: () => ((points = []), rest()),
  });

  stage.paint = () => {
    const { t, share, end } = model.describe(run);
    for (let i = 0; i < Math.min(60, end.length / 2); i++) {
      stage.line(stage.way(run.states, i), stage.colors.faint, 0.8);
    }
    stage.dots(points.flat(), stage.colors.target, Math.max(2, std.value * stage.unit), 0.3);
    stage.dots(end, stage.timeColor(t), 2);
    const within = `${Math.round(100 * share)} % within two widths of a point`;
    const last = t === 1 ? `\n${within}; of a Gaussian, 86 % are.` : "";
    stage.say(`${points.length} points drawn, t = ${fixed(t)}${last}`);
  };
  rest();
  return { stage, model, choice, numbers: () => model.describe(run) };
}
