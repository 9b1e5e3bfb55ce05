// Number of steps and solver on one field: trajectories against the exact ones, and the error.
// data: fields [name, ...] of FIELDS, x_0 (n, 2), box, n_steps, method
const turnAt = (rate) => (x) => x.map((_, i) => {
  const j = i - (i % 2), omega = rate(x[j] ** 2 + x[j + 1] ** 2);
  return i % 2 ? omega * x[j] : -omega * x[j + 1];
});
const FIELDS = { // those of lesson 02
  swirl: turnAt((square) => 4 * Math.exp(-square / 2)),
  rotation: turnAt(() => 1),
  saddle: (x) => x.map((value, i) => (i % 2 ? -value : value)),
  widening: (x, t) => { // from N(0, I) to N(0, 4 I) by straight conditional lines
    const rate = (5 * t - 1) / ((1 - t) ** 2 + 4 * t ** 2);
    return x.map((value) => rate * value);
  },
};

function setup(root, data) {
  const stage = new Stage(root, { alt: data.alt, box: data.box });
  const field = stage.menu({ name: "field", label: "Field", options: data.fields });
  const { steps, method } = stage.solver(data);
  const x_0 = Float64Array.from(data.x_0.flat());

  const compared = () => {
    const run = solve(FIELDS[field.value], x_0, steps.value, method.value);
    const fine = solve(FIELDS[field.value], x_0, 400, "rk4");
    return { states: run.x, exact: fine.x, nfe: run.nfe, error: rms(run.end, fine.end) };
  };

  stage.paint = () => {
    const { states, exact, nfe, error } = compared();
    stage.field(FIELDS[field.value], 0, { scale: 40 });
    for (let i = 0; i < x_0.length / 2; i++) {
      stage.line(stage.way(exact, i), stage.colors.ink, 1.8);
      stage.line(stage.way(states, i), stage.colors.target, 1.4, 1, [5, 3]);
    }
    states.forEach((x) => stage.dots(x, stage.colors.target, 2.2, 1));
    stage.dots(x_0, stage.colors.source, 5, 1);
    stage.say(`${nfe} velocity evaluations\nError at t = 1 (rms): ${short(error)}`);
  };
  const numbers = () => {
    const { nfe, error } = compared();
    return { nfe, error };
  };
  return { stage, numbers };
}
