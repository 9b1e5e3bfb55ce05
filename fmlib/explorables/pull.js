// Drag a point: the conditional lines through it, as dark as their posterior weight; their mean.
// data: points (n, 2), path, box, x, t, t_end
import { makeModel } from "./maths/pull.js";
import { Stage } from "./stage.js";
import { fixed } from "./style.js";

export function setup(root, data, { colors }) {
  const hint = "Drag the ring, or choose it and use the arrow keys.";
  const stage = new Stage(root, { alt: data.alt, box: data.box, hint, colors });
  const t = stage.slider({
    name: "t", label: "Time t", min: 0, max: data.t_end, step: 0.01, value: data.t, format: fixed,
  });
  const model = makeModel(data), n = data.points.length;
  const points = data.points.flat();
  let x = data.x;

  const choice = () => ({ x, t: t.value });
  const numbers = () => model.numbers(choice());

  stage.paint = () => {
    const { weights, velocity, mean, carriers } = numbers(), most = Math.max(...weights);
    data.points.forEach((end, i) => {
      const alpha = 0.02 + 0.35 * (weights[i] / most);
      stage.line([...x, ...end], stage.colors.ink, 1, alpha);
    });
    stage.dots(points, stage.colors.target, 2.2);
    stage.arrow(...x, mean[0] - x[0], mean[1] - x[1], stage.colors.ink, 2.4, 9);
    stage.dots(x, stage.colors.ink, 3.5, 1);
    stage.say(
      `u\u209c(x) = (${velocity.map((v) => fixed(v)).join(", ")})\n` +
      `E[X\u2081 | X\u209c = x] = (${mean.map((v) => fixed(v)).join(", ")})\n` +
      `The weight lies on about ${Math.round(carriers)} of ${n} points.`);
  };
  stage.handle({ label: "The point x", x: x[0], y: x[1], moved: (...to) => (x = to.slice(0, 2)) });
  return { stage, model, choice, numbers };
}
