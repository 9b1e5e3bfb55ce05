"""How fast is fmlib beside torchcfm and flow-matching? Ratios, interleaved, on one torch thread.

    (f)  training steps a second: fit over each library's own class in the loop of lesson 04, with
         the lesson's data and with fmlib's; and each library over the loop of the lesson
    (g)  sampling evaluations a second, Euler, at 300 and 2,000 points: solve over flow-matching's
         ODESolver and torchdiffeq's odeint (torchcfm has no solver); and each over a bare loop
    (e)  minibatch OT: the time of plain training over that of training with the pairing included

What is compared computes the same, which is asserted before anything is timed. torchcfm and
flow-matching are only called here; `make bench` installs them.
"""

import numpy as np
import torch
from common import (
    BATCH,
    LR,
    bare_euler,
    draw,
    draw_from,
    fit_loop,
    moons,
    over,
    paired,
    plain_loop,
    quality,
    report,
    start,
    taking_turns,
)
from flow_matching.path import AffineProbPath
from flow_matching.path.scheduler import CondOTScheduler
from flow_matching.solver import ODESolver
from torch.testing import assert_close
from torchcfm.conditional_flow_matching import (
    ConditionalFlowMatcher,
    ExactOptimalTransportConditionalFlowMatcher,
)
from torchdiffeq import odeint

from fmlib.couplings import minibatch_ot
from fmlib.data import two_moons
from fmlib.metrics import straightness
from fmlib.models import MLP
from fmlib.paths import CondOT
from fmlib.solvers import solve

STEPS = 320  # of training, a round
NFE = 200

affine_path = AffineProbPath(CondOTScheduler())
torchcfm = ConditionalFlowMatcher(sigma=0.0).sample_location_and_conditional_flow  # t, x_t, dx_t
torchcfm_ot = ExactOptimalTransportConditionalFlowMatcher(sigma=0.0)


def flow_matching(x_0, x_1):
    sample = affine_path.sample(x_0=x_0, x_1=x_1, t=torch.rand(len(x_1)))
    return sample.t, sample.x_t, sample.dx_t


# training


def peer_loop(model, steps, sample, data=moons):
    """The training loop of lesson 04 with a library's class in place of the formulas.

    sample(x_0, x_1) -> t, x_t, dx_t, at its own random t.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    losses = []
    for _ in range(steps):
        x_1 = data()
        x_0 = torch.randn_like(x_1)
        t, x_t, dx_t = sample(x_0, x_1)
        loss = (model(x_t, t) - dx_t).square().sum(1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())


def draw_moons(n, generator):
    """What the loop of lesson 04 draws, from the same random numbers, for fit."""
    x_1 = moons()
    x_0 = torch.randn_like(x_1)
    return CondOT().sample(x_0, x_1, torch.rand(n))


def check_training():
    """The targets are fmlib's; from one seed, one step of any loop gives the same weights."""
    x_0, x_1 = torch.randn(BATCH, 2), moons()
    for sample in (torchcfm, flow_matching):
        t, x_t, dx_t = sample(x_0, x_1)
        ours = CondOT().sample(x_0, x_1, t)
        assert_close(x_t, ours.x_t)
        assert_close(dx_t, ours.dx_t)

    def weights(train):
        np.random.seed(0), torch.manual_seed(0)
        model = MLP()
        train(model)
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    listing = weights(lambda model: plain_loop(model, 1))
    for train in (
        lambda model: peer_loop(model, 1, torchcfm),
        lambda model: peer_loop(model, 1, flow_matching),
        lambda model: fit_loop(model, 1, None, draw_moons),
    ):
        assert_close(weights(train), listing, rtol=0, atol=1e-5)


def training(rounds, generator):
    model = MLP()

    def fmlibs():  # fmlib's data, a batch at a time
        return two_moons(BATCH)

    times = taking_turns(
        rounds,
        plain=lambda: plain_loop(model, STEPS),
        fit=lambda: fit_loop(model, STEPS, generator),
        torchcfm=lambda: peer_loop(model, STEPS, torchcfm),
        flow_matching=lambda: peer_loop(model, STEPS, flow_matching),
        torchcfm_same=lambda: peer_loop(model, STEPS, torchcfm, fmlibs),
        flow_matching_same=lambda: peer_loop(model, STEPS, flow_matching, fmlibs),
    )
    fit = times["fit"]
    report("(f) fit over the plain loop", over(times["plain"], fit), 2.0)
    report("(f) fit over torchcfm", over(times["torchcfm"], fit), 1.0)
    report("(f) fit over flow-matching", over(times["flow_matching"], fit), 1.0)
    report("    fit over torchcfm, fmlib's data", over(times["torchcfm_same"], fit), 1.0)
    report("    fit over flow-matching, fmlib's data", over(times["flow_matching_same"], fit), 1.0)
    report("    torchcfm over the plain loop", over(times["plain"], times["torchcfm"]))
    report("    flow-matching over the plain loop", over(times["plain"], times["flow_matching"]))


# sampling


def solve_euler(model, x):
    return solve(model, x, NFE).end


def flow_matching_euler(model, x):
    return ODESolver(model).sample(x_init=x, step_size=1 / NFE, method="euler")


@torch.no_grad()
def torchdiffeq_euler(model, x):
    times = torch.linspace(0, 1, NFE + 1)
    return odeint(lambda t, x: model(x, t), x, times, method="euler")[-1]


def check_sampling(model, x):
    """All solvers end at the same points, after the same number of evaluations."""
    calls = 0

    def counting(x, t):
        nonlocal calls
        calls += 1
        return model(x, t)

    end = bare_euler(model, x, NFE)
    for euler in (solve_euler, flow_matching_euler, torchdiffeq_euler):
        calls = 0
        assert_close(euler(counting, x), end, rtol=0, atol=1e-5)
        assert calls == NFE, f"{euler.__name__} made {calls} evaluations, not {NFE}"


def sampling(rounds, model, x):
    times = taking_turns(
        rounds,
        plain=lambda: bare_euler(model, x, NFE),
        solve=lambda: solve_euler(model, x),
        flow_matching=lambda: flow_matching_euler(model, x),
        torchdiffeq=lambda: torchdiffeq_euler(model, x),
    )
    plain, ours, n = times["plain"], times["solve"], len(x)
    report(f"(g) solve over flow-matching, {n} points", over(times["flow_matching"], ours), 1.0)
    report(f"(g) solve over torchdiffeq, {n} points", over(times["torchdiffeq"], ours), 1.0)
    report(f"    solve over a bare loop, {n} points", over(plain, ours))
    report(f"    flow-matching over a bare loop, {n} points", over(plain, times["flow_matching"]))
    report(f"    torchdiffeq over a bare loop, {n} points", over(plain, times["torchdiffeq"]))


# minibatch OT


def draw_paired_afresh(n, generator):
    x_0, x_1 = paired(two_moons, n // BATCH, BATCH, generator)
    return CondOT().sample(x_0, x_1, torch.rand(n, generator=generator))


def check_pairing():
    """Both pairings cost the same: both are the best one."""
    x_0, x_1 = torch.randn(BATCH, 2), two_moons(BATCH)
    plan = torch.from_numpy(torchcfm_ot.ot_sampler.get_map(x_0, x_1))
    cost = (plan * torch.cdist(x_0, x_1) ** 2).sum()
    a, b = minibatch_ot(x_0, x_1)
    assert_close((a - b).square().sum(1).mean(), cost.float(), rtol=1e-5, atol=0)


def pairing(rounds, batches, size, generator):
    steps, few = 4000, 64  # pairing each batch afresh is slow
    model = MLP()
    trained, pool = {}, []

    def train(name, draw):
        trained[name] = MLP()
        fit_loop(trained[name], steps, generator, draw)

    def make_pool():
        pool[:] = paired(two_moons, batches, size, generator)

    times = taking_turns(
        rounds,
        plain=lambda: train("plain", draw),
        pool=make_pool,
        pooled=lambda: train("from the pool", draw_from(*pool)),
        plain_few=lambda: fit_loop(model, few, generator),
        afresh=lambda: fit_loop(model, few, generator, draw_paired_afresh),
        torchcfm=lambda: peer_loop(model, few, torchcfm),
        torchcfm_ot=lambda: peer_loop(model, few, torchcfm_ot.sample_location_and_conditional_flow),
    )
    pooled = [(a + b) / steps for a, b in zip(times["pool"], times["pooled"], strict=True)]
    plain = [a / steps for a in times["plain"]]
    theirs = times["torchcfm_ot"]
    report(f"(e) OT from a pool of {batches} x {size}", over(plain, pooled), 0.5)
    report("    once the pool is made", over(times["plain"], times["pooled"]))
    report("    every batch paired afresh", over(times["plain_few"], times["afresh"]))
    report("    torchcfm, over its own plain step", over(times["torchcfm"], theirs))
    report("    OT steps from the pool over torchcfm's", over([a / few for a in theirs], pooled))
    report("    OT steps paired afresh over torchcfm's", over(theirs, times["afresh"]))
    for name, model in trained.items():
        path = solve(model, torch.randn(2000, 2, generator=generator), 100)
        print(
            f"     {name}: W2 {quality(model, generator):.2f} times its floor, "
            f"straightness {straightness(path).relative:.3f}"
        )


def main():
    given = start(__doc__, batches=128, pairs=256)
    generator = torch.Generator().manual_seed(0)
    check_training()
    check_pairing()
    training(given.rounds, generator)
    model = MLP()
    fit_loop(model, STEPS, generator)
    for points in (300, 2000):
        x = torch.randn(points, 2, generator=generator)
        check_sampling(model, x)
        sampling(5 * given.rounds, model, x)  # each takes a moment only
    pairing(min(given.rounds, 10), given.batches, given.pairs, generator)


if __name__ == "__main__":
    main()
