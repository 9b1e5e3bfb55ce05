// Drag t: the cloud, its density p_t and its velocity field u_t together.
// data: target, paths {name: spec}, n_particles, box, t, t_end
function setup(root, data) {
  const stage = new Stage(root, { alt: data.alt, box: data.box });
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
  const x_0 = makeNoise(1)(2 * data.n_particles);
  const STEPS = 50, flows = {}; // of each path that was looked at: the field and its flow

  function flow() {
    if (!flows[path.value]) {
      const field = makeMixture(data.target, makePath(data.paths[path.value]));
      const run = solve(field.velocity, x_0, STEPS, "heun", data.t_end);
      flows[path.value] = { field, states: run.x };
    }
    return flows[path.value];
  }

  const numbers = () => {
    const { field, states } = flow(), x = along(states, t.value / data.t_end);
    const u = field.velocity(x, t.value);
    const logProb = field.logProb(x, t.value);
    return {
      x_0: Array.from(x_0), x: Array.from(x),
      speed: rms(u, new Float64Array(u.length)),
      entropy: -logProb.reduce((sum, value) => sum + value, 0) / logProb.length,
    };
  };

  stage.paint = () => {
    const { field } = flow(), { x, speed, entropy } = numbers();
    stage.shade((x) => field.logProb(x, t.value));
    stage.field(field.velocity, t.value);
    stage.dots(x, stage.timeColor(t.value / data.t_end), 2.2);
    stage.say(`Mean speed (rms): ${fixed(speed)}\nEntropy, the mean of \u2212log p\u209c: ${fixed(entropy)}`);
  };
  return { stage, numbers, velocity: (x, time) => flow().field.velocity(x, time) };
}
