// Draw a target: the exact marginal flow from noise to it runs at once.
// data: points (n, 2) to begin with, std, path, box, n_particles, n_steps, most (points)
function setup(root, data) {
  const hint = "Draw on the picture with mouse or finger. By keyboard: choose the ring, move it with " +
    "the arrow keys, add a point with Enter.";
  const stage = new Stage(root, { alt: data.alt, box: data.box, hint });
  const std = stage.slider({
    name: "std", label: "Width of a point", min: 0.02, max: 0.4, step: 0.02, value: data.std,
    format: fixed,
  });
  const path = makePath(data.path), n = data.n_steps;
  let points = data.points, seed = 1, states = [], at = [data.box[0] / 2, data.box[2] / 2];

  const field = () =>
    makeMixture({ means: points, stds: std.value, weights: 1 / points.length }, path).velocity;
  const noise = () => makeNoise(seed)(2 * data.n_particles);

  function rest() {
    stage.stop();
    states = [noise()];
    stage.redraw();
  }

  function run() {
    if (!points.length) return rest();
    const velocity = field(), { step } = SOLVERS.heun;
    states = [noise()];
    stage.play(2.5, (progress) => { // each frame takes the solver's steps that are due
      for (let i = states.length - 1; i < Math.round(progress * n); i++) {
        states.push(step(velocity, states[i], i / n, 1 / n));
      }
    });
  }

  function share() { // of the particles within two widths of a point
    const x = states.at(-1), reach = (2 * std.value) ** 2;
    let near = 0;
    for (let i = 0; i < x.length; i += 2) {
      near += points.some((p) => (x[i] - p[0]) ** 2 + (x[i + 1] - p[1]) ** 2 < reach);
    }
    return near / data.n_particles;
  }

  const numbers = () => ({
    points, std: std.value, t: (states.length - 1) / n, share: share(),
    x_0: Array.from(states[0]), end: Array.from(states.at(-1)),
  });

  const add = (x, y) => (points = [...points, [x, y]].slice(-data.most));
  const pen = stage.handle({
    label: "The pen", x: at[0], y: at[1],
    moved(x, y, drawing) {
      const last = points.at(-1);
      if (drawing && !(last && Math.hypot(x - last[0], y - last[1]) < 0.06)) (add(x, y), rest());
      at = [x, y];
    },
    released: run,
  });
  pen.addEventListener("click", (event) => {
    if (event.detail === 0) (add(...at), run()); // by keyboard
  });
  std.input.addEventListener("change", run);
  stage.canvas.style.touchAction = "none"; // a finger draws here, and does not scroll
  stage.buttons({
    Run: run,
    "Other noise": () => ((seed += 1), run()),
    Clear: () => ((points = []), rest()),
  });

  stage.paint = () => {
    const t = (states.length - 1) / n;
    for (let i = 0; i < 60; i++) {
      stage.line(stage.way(states, i), stage.colors.faint, 0.8);
    }
    stage.dots(points.flat(), stage.colors.target, Math.max(2, std.value * stage.unit), 0.3);
    stage.dots(states.at(-1), stage.timeColor(t), 2);
    const within = `${Math.round(100 * share())} % within two widths of a point`;
    const end = t === 1 ? `\n${within}; of a Gaussian, 86 % are.` : "";
    stage.say(`${points.length} points drawn, t = ${fixed(t)}${end}`);
  };
  rest();
  return { stage, numbers };
}
