// A trained network in the browser: noise in, samples out, step by step; or exact fields, guided.
// data: fields {label: MLP or mixture}, path (of mixtures), unconditional (a mixture, for guidance),
//       box, n_steps, method, n_particles, guidance
function setup(root, data) {
  const stage = new Stage(root, { alt: data.alt, box: data.box });
  const make = (spec) => (spec.sizes ? makeMLP(spec) : makeMixture(spec, makePath(data.path)).velocity);
  const labels = Object.keys(data.fields);
  const fields = Object.fromEntries(labels.map((name) => [name, make(data.fields[name])]));
  const every = data.unconditional && make(data.unconditional);
  const label = stage.menu({ name: "label", label: "Label", options: labels });
  const guidance = every && stage.slider({
    name: "guidance", label: "Guidance w", min: 0, max: 5, step: 0.1, value: data.guidance, format: fixed,
  });
  const { steps, method } = stage.solver(data);
  let seed = 1, t = 1, known = "", run = {};

  function velocity(x, time) { // u + w (u of the label - u), for w = 1 the label's own
    const own = fields[label.value](x, time);
    if (!every) return own;
    const all = every(x, time);
    return all.map((u, i) => u + guidance.value * (own[i] - u));
  }

  function result() {
    const chosen = [seed, label.value, guidance?.value, steps.value, method.value].join();
    if (chosen !== known) {
      known = chosen;
      const x_0 = makeNoise(seed)(2 * data.n_particles), some = x_0.subarray(0, 200);
      run = solve(velocity, x_0, steps.value, method.value);
      run.error = rms(run.end.subarray(0, 200), solve(velocity, some, 50, "heun").end);
    }
    return run;
  }

  const numbers = () => {
    const { nfe, error, x, end } = result();
    return { nfe, error, x_0: Array.from(x[0]), end: Array.from(end) };
  };
  stage.buttons({
    Play: () => stage.play(3, (progress) => (t = progress)),
    "Other noise": () => ((seed += 1), stage.redraw()),
  });

  stage.paint = () => {
    const { x, nfe, error } = result();
    stage.field(velocity, Math.min(t, 0.99));
    for (let i = 0; i < 40; i++) stage.line(stage.way(x, i), stage.colors.faint, 0.9);
    stage.dots(along(x, t), stage.timeColor(t), 2.2); // a solver walks in straight lines
    stage.say(`${nfe} velocity evaluations, t = ${fixed(t)}\nError of the solver (rms): ${short(error)}`);
  };
  return { stage, numbers, velocity };
}
