// The share of its points that a picture in motion can afford on this machine: so many that the
// work of a frame takes `budget` milliseconds, of the 16.7 that there are, but at least `least`.
export function makePace(budget = 10, least = 0.1) {
  let share = 1;
  return {
    share: () => share,
    spent(ms) { // by a frame with this share
      if (ms > budget) share *= Math.max(0.5, budget / ms); // a single hiccup is no slow machine
      else if (ms < 0.7 * budget) share *= 1.1;
      share = Math.min(1, Math.max(least, share));
    },
  };
}
