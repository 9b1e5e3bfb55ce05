// Drag t: the cloud, its density p_t and its velocity field u_t together.
// data: target, paths {name: spec}, n_particles, box, t, t_end
import { makeModel } from "./maths/cloud.js";
import { Stage } from "./stage.js";
import { fixed } from "./style.js";

export function setup(root, data, { colors }) {
  const stage = new Stage(root, { alt: data.alt, box: data.box, colors });
  const path = stage.menu({ name: "path", label: "Path", options: Object.keys(data.paths) });
  const t = stage.slider({
    name: "t", label: "Time t", min: 0, max: data.t_end, step: 0.01, value: data.t, format: fixed,
  });
  stage.buttons({
    Play() {
      const from = t.value < data.t_end ? t.value : 0;
      stage.play(4 * (1 - from), (p) => (t.value = from + p * (data.t_end - from)));
    },
  });
  const model = makeModel(data);
  const choice = () => ({ path: path.value, t: t.value });

  stage.paint = () => {
    const field = model.field(path.value);
    const n = stage.some(data.n_particles);
    const { x, speed, entropy } = model.numbers({ ...choice(), n });
    stage.shade((x) => field.logProb(x, t.value));
    stage.field(field.velocity, t.value);
    stage.dots(x, stage.timeColor(t.value / data.t_end), 2.2);
    stage.say(
      `Mean speed (rms): ${fixed(speed)}\n` +
      `Entropy, the mean of \u2212log p\u209c: ${fixed(entropy)}`);
  };
  return { stage, model, choice, numbers: () => model.numbers(choice()) };
}
