// A trained network in the browser: noise in, samples out, by steps; or guided exact fields.
// data: fields {label: MLP or mixture}, path (of mixtures), unconditional (a mixture, for guidance),
//       box, n_steps, method, n_particles, guidance
import { makeModel } from "./maths/network.js";
import { along } from "./maths/solvers.js";
import { Stage } from "./stage.js";
import { fixed, short } from "./style.js";

export function setup(root, data, { colors }) {
  const stage = new Stage(root, { alt: data.alt, box: data.box, colors });
  const model = makeModel(data);
  const label = stage.menu({ name: "label", label: "Label", options: model.labels });
  const guidance = model.guided && stage.slider({
    name: "guidance", label: "Guidance w", min: 0, max: 5, step: 0.1, value: data.guidance,
    format: fixed,
  });
  const { steps, method } = stage.solver(data);
  let seed = 1, t = 1, known = "", run = {};

  const choice = () => ({
    label: label.value, guidance: guidance.value, steps: steps.value, method: method.value, seed,
  });

  function result() { // computed once for a choice, and once more if it was for some points only
    const chosen = JSON.stringify(choice()), most = 2 * data.n_particles;
    if (chosen !== known || (run.end.length < most && !stage.moving)) {
      known = chosen;
      run = model.sample({ ...choice(), n: stage.some(data.n_particles) });
    }
    return run;
  }

  stage.buttons({
    Play: () => stage.play(3, (progress) => (t = progress)),
    "Other noise": () => ((seed += 1), stage.redraw()),
  });

  stage.paint = () => {
    const { x, nfe, error } = result();
    stage.field(model.velocity(choice()), Math.min(t, 0.99));
    for (let i = 0; i < Math.min(40, x[0].length / 2); i++) {
      stage.line(stage.way(x, i), stage.colors.faint, 0.9);
    }
    const shown = along(x, t, 2 * stage.some(data.n_particles)); // a solver walks in straight lines
    stage.dots(shown, stage.timeColor(t), 2.2);
    stage.say(
      `${nfe} velocity evaluations, t = ${fixed(t)}\n` +
      `Error of the solver (rms): ${short(error)}`);
  };
  return { stage, model, choice, numbers: () => model.numbers(choice()) };
}
