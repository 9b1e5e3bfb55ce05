// Number of steps and solver on one field: trajectories against the exact ones, and the error.
// data: fields [name, ...] of given.fields, x_0 (n, 2), box, n_steps, method
import { makeModel } from "./maths/steps.js";
import { Stage } from "./stage.js";
import { short } from "./style.js";

export function setup(root, data, given) {
  const stage = new Stage(root, { alt: data.alt, box: data.box, colors: given.colors });
  const field = stage.menu({ name: "field", label: "Field", options: data.fields });
  const { steps, method } = stage.solver(data);
  const model = makeModel(data, given), { x_0 } = model;
  const choice = () => ({ field: field.value, steps: steps.value, method: method.value });

  stage.paint = () => {
    const { states, exact, nfe, error } = model.compare(choice());
    stage.field(model.field(field.value), 0, { scale: 40 });
    for (let i = 0; i < x_0.length / 2; i++) {
      stage.line(stage.way(exact, i), stage.colors.faint, 4);
      stage.line(stage.way(states, i), stage.colors.ink, 1.4, 1, [5, 3]);
    }
    states.forEach((x) => stage.dots(x, stage.colors.ink, 2.2, 1));
    stage.dots(x_0, stage.colors.source, 5, 1);
    stage.say(`${nfe} velocity evaluations\nError at t = 1 (rms): ${short(error)}`);
  };
  return { stage, model, choice, numbers: () => model.numbers(choice()) };
}
