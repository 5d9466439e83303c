"""The composition of the ops against an agent written out per seed with torch modules and torch.optim.Adam, in float64."""

import pytest
import torch
from batches import ACT, OBS, double, offline_draws, one_seed, online_draws, random_rows
from slow_agent import SlowAgent

from rewarm.rl import CalQL, EnsembleSAC
from rewarm.rl import update as composition

SEEDS = (3, 4)
ROUNDOFF = 2.0**-53

ONLINE = {
    "defaults": {},
    "wsrl-free-k4": {
        "log_std": "free",
        "adam_semantics": "wsrl",
        "backup_entropy": True,
        "backup_actions": 4,
        "subset_replacement": True,
    },
    "mean-no-norm-all": {"actor_q": "mean", "layer_norm": False, "critics": 3, "subset": 3, "last_hidden_scale": 2**0.5},
    "one-critic": {"critics": 1, "subset": 1, "gamma": 0.0, "tau": 1.0},
}
OFFLINE = {
    "calql": {},
    "kitchen": {"importance_sampling": False, "bound_random": True, "cql_temperature": 2.0, "subset_replacement": True},
    "cql-lagrange": {
        "calibrated": False,
        "cql_weight": {"gap": 0.3, "init": 2.0, "lr": 1e-3},
        "log_std": "free",
        "backup_actions": 1,
        "actor_q": "mean",
        "adam_semantics": "wsrl",
    },
}


def assert_close(mine, theirs, lr, steps):
    """Float64 parameters after some Adam steps.

    A gradient here comes out of at most 2^8 roundings (three layers of dot products below 16 terms, forward and back, and the
    mean over the rows) of terms that together stay below 2^4, in an order that the two spellings do not share; Adam divides
    its error by no less than its eps of 1e-8. Each step moves the difference by less than lr times that.
    """
    bound = steps * lr * 2.0**12 * ROUNDOFF / 1e-8 + 64 * ROUNDOFF * theirs.abs()
    assert mine.shape == theirs.shape
    assert (mine - theirs).abs().le(bound).all(), (mine - theirs).abs().max()


def assert_same_learner(learner, slow, settings, steps):
    kept = min(1.0, steps * settings.tau)  # of the critics' moves, what a target has seen
    rates = {"actor": settings.actor_lr, "critics": settings.critic_lr, "targets": settings.critic_lr * kept}
    for s, agent in enumerate(slow):
        for name, lr in rates.items():
            for mine, theirs in zip(getattr(learner, name).tensors(), agent.flat(name), strict=True):
                assert_close(mine[s], theirs, lr, steps)
        assert_close(learner.alpha_param[s], agent.alpha_param.detach(), settings.alpha_lr, steps)
        if agent.lagrange_param is not None:
            assert_close(learner.lagrange_param[s], agent.lagrange_param.detach(), agent.penalty.lr, steps)


def assert_same_info(info, reference, s):
    for name, value in reference.items():
        assert info[name][s].item() == pytest.approx(value, rel=2.0**12 * ROUNDOFF, abs=2.0**12 * ROUNDOFF), name


@pytest.mark.parametrize("options", ONLINE.values(), ids=ONLINE.keys())
def test_update_is_the_slow_agents(options):
    agent = EnsembleSAC(OBS, ACT, hidden=(16, 12), actor_hidden=(9,), seeds=SEEDS, backend="reference", **options)
    learner = double(agent.learner)
    slow = [SlowAgent(agent.learner, s, agent.settings) for s in range(len(SEEDS))]
    for i in range(2):
        rows, draws = random_rows(SEEDS, 4 * 7, seed=i), online_draws(agent, 7, 4)
        agent.offset += 4
        info = composition.update(learner, double(rows), double(draws), agent.settings)
        for s, other in enumerate(slow):
            noise = one_seed(draws, s)
            assert_same_info(info, other.update(one_seed(rows, s), **noise), s)
    assert_same_learner(learner, slow, agent.settings, 10)


@pytest.mark.parametrize("options", OFFLINE.values(), ids=OFFLINE.keys())
def test_offline_step_is_the_slow_agents(options):
    agent = CalQL(OBS, ACT, hidden=(16, 12), actor_hidden=(9,), seeds=SEEDS, backend="reference", n_actions=3, **options)
    learner = double(agent.learner)
    slow = [SlowAgent(agent.learner, s, agent.settings, agent.penalty) for s in range(len(SEEDS))]
    for i in range(3):
        rows, draws = random_rows(SEEDS, 11, seed=i), offline_draws(agent, 11)
        agent.offset += 1
        info = composition.offline_step(learner, double(rows), double(draws), agent.settings, agent.penalty)
        for s, other in enumerate(slow):
            assert_same_info(info, other.offline_step(one_seed(rows, s), one_seed(draws, s)), s)
    assert_same_learner(learner, slow, agent.settings, 3)


def test_all_terminated_targets_are_the_rewards():
    agent = EnsembleSAC(OBS, ACT, hidden=(8,), seeds=SEEDS, backend="reference", backup_entropy=True)
    rows = random_rows(SEEDS, 8, terminated=1.1)
    rows.reward.fill_(0.25)
    info = agent.update_batch(rows, utd=2)
    assert torch.equal(info["q_target"], torch.full((2,), 0.25))


@pytest.mark.parametrize("replacement", [False, True], ids=["distinct", "replacement"])
def test_drawing_first_is_drawing_last(replacement):
    """The targets of the drawn critics alone, against all critics' and the drawn ones picked from them."""
    agent = EnsembleSAC(
        OBS, ACT, hidden=(16,), critics=6, subset=3, subset_replacement=replacement, seeds=SEEDS, backup_actions=2
    )
    rows, draws = random_rows(SEEDS, 9), online_draws(agent, 9, 1)
    everyone = torch.arange(6).expand(2, 6).contiguous()
    learner, noise, subset = agent.learner, draws.target_noise[:, 0].contiguous(), draws.target_subset[:, 0].contiguous()
    first = composition._targets(learner, rows, noise, subset, agent.settings)
    action, _ = composition._sample(learner.actor, rows.next_obs, noise, agent.settings)
    q = composition.ensemble_mlp(rows.next_obs, learner.targets.layers, learner.targets.head, actions=action, index=everyone)
    last = torch.stack([q[s][subset[s]].amin(0).amax(-1) for s in range(2)])
    assert torch.equal(first, composition.td_target(rows.reward, rows.terminated, last.unsqueeze(1), gamma=0.99))


def test_wsrl_adam_moves_the_actor_in_critic_minibatches():
    """In a critic-only minibatch the actor has a gradient of zero, and moves on by momentum alone, by exactly Adam's rule."""
    agent = EnsembleSAC(OBS, ACT, hidden=(8,), seeds=SEEDS, backend="reference", adam_semantics="wsrl")
    plain = EnsembleSAC(OBS, ACT, hidden=(8,), seeds=SEEDS, backend="reference")
    rows = random_rows(SEEDS, 12)
    draws = online_draws(agent, 6, 2)
    for one in (agent, plain):
        one.update_batch(rows, draws)
    assert (agent.learner.actor_moments.step, agent.learner.critic_moments.step, agent.learner.alpha_moments.step) == (3, 3, 3)
    assert (plain.learner.actor_moments.step, plain.learner.critic_moments.step, plain.learner.alpha_moments.step) == (1, 2, 1)

    for one, moves in ((agent, True), (plain, False)):
        own = one.learner
        before = [t.clone() for t in [*own.actor.tensors(), own.alpha_param]]
        moments = list(zip(own.actor_moments.exp_avg, own.actor_moments.exp_avg_sq, strict=True))
        moments.append((own.alpha_moments.exp_avg[0], own.alpha_moments.exp_avg_sq[0]))
        moments = [(m.clone(), v.clone()) for m, v in moments]
        t = own.actor_moments.step + 1
        noise, subset = draws.target_noise[:, 0].contiguous(), draws.target_subset[:, 0].contiguous()
        composition.critic_step(own, rows.minibatch(0, 6), noise, subset, one.settings)
        after = [*own.actor.tensors(), own.alpha_param]
        if not moves:
            assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
            continue
        assert sum((new - old).abs().sum() for old, new in zip(before, after, strict=True)) > 0
        for old, new, (m, v) in zip(before, after, moments, strict=True):
            m, v = 0.9 * m.double(), 0.999 * v.double()
            step = 1e-4 * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)
            # float32: ten roundings in the step (and those of m and v are relative), one in the difference
            assert ((new - (old - step)).abs() <= 2.0**-24 * (16 * step.abs() + 1.5 * new.abs())).all()


def test_the_actors_step_leaves_critics_and_targets():
    agent = EnsembleSAC(OBS, ACT, hidden=(8,), seeds=SEEDS, backend="reference")
    own, rows, draws = agent.learner, random_rows(SEEDS, 6), online_draws(agent, 6, 1)
    before = [t.clone() for t in own.critics.tensors() + own.targets.tensors()]
    composition.actor_step(own, rows, draws.actor_noise, draws.alpha_noise, agent.settings)
    assert all(torch.equal(old, new) for old, new in zip(before, own.critics.tensors() + own.targets.tensors(), strict=True))
    wsrl = EnsembleSAC(OBS, ACT, hidden=(8,), seeds=SEEDS, backend="reference", adam_semantics="wsrl")
    wsrl.update_batch(rows, draws)
    own = wsrl.learner
    critics, targets = [t.clone() for t in own.critics.tensors()], [t.clone() for t in own.targets.tensors()]
    composition.actor_step(own, rows, draws.actor_noise, draws.alpha_noise, wsrl.settings)
    assert any(not torch.equal(old, new) for old, new in zip(critics, own.critics.tensors(), strict=True))
    assert all(torch.equal(old, new) for old, new in zip(targets, own.targets.tensors(), strict=True))


def test_nan_in_a_row_is_seen_not_swallowed():
    agent = EnsembleSAC(OBS, ACT, hidden=(8,), seeds=SEEDS, backend="reference")
    rows = random_rows(SEEDS, 8)
    rows.reward[0, 3] = float("nan")
    info = agent.update_batch(rows, utd=2)
    assert info["critic_loss"][0].isnan() and info["critic_loss"][1].isfinite()
