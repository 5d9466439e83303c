"""EnsembleSAC and its kin from outside: acting, saving, exchanging modules, schedules, mixing, and what is refused."""

import os

import numpy as np
import pytest
import torch
from batches import ACT, OBS, offline_draws, online_draws, random_rows

from rewarm.errors import BackendUnavailable, InvalidArgument, StateDictMismatch, UnsupportedTensor
from rewarm.rl import IQL, WSRL, CalQL, EnsembleSAC, Lagrange
from rewarm.rl.adam import polyak
from rewarm.schedule import linear, warmup_cosine

SMALL = {"hidden": (8, 6), "critics": 3, "backend": "reference"}


class Rolling:
    """A buffer whose row i has reward i; remembers what was drawn of it."""

    def __init__(self, seeds, rows, first=0):
        self.rows, self.first, self.drawn = random_rows(seeds, rows), first, []

    def __len__(self):
        return self.rows.reward.shape[1]

    def sample(self, n, *, offset, first=0):
        self.drawn.append((n, offset.tolist(), first))
        rows = random_rows(range(len(offset)), n)
        rows.reward = (self.first + torch.arange(n, dtype=torch.float32)).expand(len(offset), n).contiguous()
        return rows


# ---- acting


def test_act_keeps_the_shape_and_stays_inside():
    one = EnsembleSAC(OBS, ACT, **SMALL)
    two = EnsembleSAC(OBS, ACT, seeds=(0, 1), **SMALL)
    for agent, shape in ((one, (OBS,)), (one, (7, OBS)), (one, (1, 7, OBS)), (one, (0, OBS)), (two, (2, 7, OBS))):
        for mode in (False, True):
            action = agent.act(np.ones(shape), mode=mode)
            assert action.shape == (*shape[:-1], ACT) and action.dtype == np.float32
    for agent, shape in (
        (one, (OBS + 1,)),
        (one, ()),
        (two, (7, OBS)),
        (two, (OBS,)),
        (two, (3, 7, OBS)),
        (one, (1, 1, 1, OBS)),
    ):
        with pytest.raises(InvalidArgument, match="act: obs: expected"):
            agent.act(np.ones(shape))
    one.learner.actor.head[1].fill_(50.0)
    assert (np.abs(one.act(np.zeros(OBS), mode=True)) < 1).all()


def test_sampled_actions_have_a_counter_of_their_own():
    agent, other = EnsembleSAC(OBS, ACT, **SMALL), EnsembleSAC(OBS, ACT, **SMALL)
    obs = np.zeros((4, OBS))
    first, second = agent.act(obs), agent.act(obs)
    assert not np.array_equal(first, second) and agent.acts == 2
    assert np.array_equal(agent.act(obs, mode=True), agent.act(obs, mode=True)) and agent.acts == 2
    rows = random_rows((0,), 8)
    agent.update_batch(rows, utd=2)
    other.update_batch(rows, utd=2)
    assert all(torch.equal(a, b) for a, b in zip(agent.learner.actor.tensors(), other.learner.actor.tensors(), strict=True))
    fresh = EnsembleSAC(OBS, ACT, **SMALL)
    assert np.array_equal(fresh.act(obs), first) and np.array_equal(fresh.act(obs), second)


def test_sampled_actions_follow_the_policy():
    agent = EnsembleSAC(1, 1, hidden=(4,), backend="reference")
    actor = agent.learner.actor
    actor.head[0].zero_()
    actor.head[1].copy_(torch.tensor([[[0.3, -1.0]]]))
    drawn = np.arctanh(agent.act(np.zeros((40_000, 1))).astype(np.float64))
    # five standard errors of the mean and of the standard deviation
    assert abs(drawn.mean() - 0.3) < 5 * np.exp(-1.0) / 200
    assert abs(drawn.std() - np.exp(-1.0)) < 5 * np.exp(-1.0) / 200 / np.sqrt(2)


# ---- stopping and going on


@pytest.mark.parametrize("kind", ["sac", "calql", "iql", "wsrl"])
def test_a_stopped_run_continues_bit_for_bit(kind, tmp_path):
    make = {
        "sac": lambda: EnsembleSAC(OBS, ACT, seeds=(5, 6), critic_lr=warmup_cosine(1e-3, 1e-4, 3, 20), **SMALL),
        "calql": lambda: CalQL(OBS, ACT, seeds=(5, 6), cql_weight=Lagrange(lr=linear(1e-3, 0.0, 9)), n_actions=2, **SMALL),
        "iql": lambda: IQL(OBS, ACT, seeds=(5, 6), hidden=(8, 6), dropout=0.25, backend="reference"),
        "wsrl": lambda: WSRL(OBS, ACT, seeds=(5, 6), adam_semantics="wsrl", log_std="free", **SMALL),
    }[kind]

    def advance(agent, i):
        rows = random_rows((5, 6), 12, seed=i)
        if kind == "calql":
            agent.update_offline_batch(rows)
        elif kind == "iql":
            agent.update_batch(rows)
        else:
            agent.update_batch(rows, utd=2)
        return agent.act(np.ones((2, 3, OBS)))

    whole = make()
    for i in range(4):
        advance(whole, i)
    stopped = make()
    for i in range(2):
        advance(stopped, i)
    path = tmp_path / "agent.pt"
    stopped.save(path)
    resumed = type(stopped).load(path, backend="reference")
    assert repr(resumed) == repr(stopped) and os.listdir(tmp_path) == ["agent.pt"]
    advance(stopped, 9)  # saved means copied: going on elsewhere changes nothing
    for i in range(2, 4):
        last = advance(resumed, i)
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b, name
    whole.acts -= 1
    assert np.array_equal(whole.act(np.ones((2, 3, OBS))), last)


def test_files_that_are_refused(tmp_path):
    agent = EnsembleSAC(OBS, ACT, **SMALL)
    path = tmp_path / "agent.pt"
    agent.save(path)
    with pytest.raises(StateDictMismatch, match="expected a CalQL, got a EnsembleSAC"):
        CalQL.load(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StateDictMismatch, match=r"expected an agent saved by rewarm\.rl"):
        EnsembleSAC.load(path)
    torch.save({"format": "other"}, path)
    with pytest.raises(StateDictMismatch, match="got format 'other'"):
        EnsembleSAC.load(path)
    with pytest.raises(InvalidArgument, match="does not exist"):
        agent.save(tmp_path / "nowhere" / "agent.pt")
    with pytest.raises(FileNotFoundError):
        EnsembleSAC.load(tmp_path / "absent.pt")


class Malicious:
    def __reduce__(self):
        return os.mkdir, ("was_run",)


def test_a_file_cannot_run_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"format": "rewarm.rl", "version": 1, "state": Malicious()}, "evil.pt")
    with pytest.raises(StateDictMismatch):
        EnsembleSAC.load("evil.pt")
    assert not os.path.exists("was_run")


def test_a_foreign_state_changes_nothing():
    agent, wider = EnsembleSAC(OBS, ACT, **SMALL), EnsembleSAC(OBS, ACT, **(SMALL | {"hidden": (8, 7)}))
    before = {name: v.clone() for name, v in agent.state_dict().items() if isinstance(v, torch.Tensor)}
    for state in (wider.state_dict(), {}, agent.state_dict() | {"acts": -1}, agent.state_dict() | {"more": 0}):
        with pytest.raises(StateDictMismatch):
            agent.load_state_dict(state)
    assert all(torch.equal(before[name], agent.state_dict()[name]) for name in before)


# ---- modules


@pytest.mark.parametrize("log_std", ["state", "free"])
@pytest.mark.parametrize("layer_norm", [True, False], ids=["norm", "plain"])
def test_modules_compute_the_same_and_come_back(log_std, layer_norm):
    options = SMALL | {"log_std": log_std, "layer_norm": layer_norm, "seeds": (1, 2)}
    agent, other = EnsembleSAC(OBS, ACT, **options), EnsembleSAC(OBS, ACT, **(options | {"seeds": (3, 4)}))
    agent.update_batch(random_rows((1, 2), 8), utd=2)
    obs, action = torch.randn(2, 6, OBS), torch.rand(2, 6, ACT) * 2 - 1
    exported = agent.export_modules()
    mode = agent.act(obs.numpy(), mode=True)
    for s, (actor, critics, targets) in enumerate(exported):
        mean, spread = actor(obs[s])
        assert mean.shape == spread.shape == (6, ACT) and len(critics) == len(targets) == 3
        # float32 in another order: sums of at most 12 terms of magnitude below 4, three layers
        assert np.abs(torch.tanh(mean).detach().numpy() - mode[s]).max() < 3 * 12 * 4 * 2.0**-24 * 8
        assert critics[0](obs[s], action[s]).shape == (6,)
    other.load_modules([m[0] for m in exported], [m[1] for m in exported], [m[2] for m in exported], alpha=[0.5, 0.25])
    for name in ("actor", "critics", "targets"):
        pairs = zip(getattr(agent.learner, name).tensors(), getattr(other.learner, name).tensors(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    assert other.alpha.tolist() == pytest.approx([0.5, 0.25], rel=2**-20)


def test_loading_modules_restarts_adam_and_copies_targets():
    agent = EnsembleSAC(OBS, ACT, **SMALL)
    agent.update_batch(random_rows((0,), 8), utd=2)
    actor, critics, _ = agent.export_modules()[0]
    alpha = agent.alpha.clone()
    agent.load_modules(actor, list(critics))
    own = agent.learner
    assert own.critic_moments.step == own.actor_moments.step == 0 and not any(m.any() for m in own.critic_moments.exp_avg)
    assert all(torch.equal(a, b) for a, b in zip(own.critics.tensors(), own.targets.tensors(), strict=True))
    assert torch.equal(agent.alpha, alpha)


def test_modules_that_do_not_fit_are_refused_whole():
    from torch import nn

    agent = EnsembleSAC(OBS, ACT, **SMALL)
    before = {name: v.clone() for name, v in agent.state_dict().items() if isinstance(v, torch.Tensor)}
    actor, critics, _ = agent.export_modules()[0]
    loose = nn.Sequential(nn.Linear(OBS + ACT, 8), nn.LayerNorm(8), nn.Linear(8, 6), nn.LayerNorm(6), nn.Linear(6, 1))
    narrow = nn.Sequential(
        nn.Linear(OBS, 8), nn.LayerNorm(8, eps=1e-6), nn.Linear(8, 6), nn.LayerNorm(6, eps=1e-6), nn.Linear(6, 1)
    )
    for bad, message in (
        ([critics[0], critics[1]], "expected a sequence of 3, got 2"),
        ([loose] * 3, "eps 1e-06, got 1e-05"),
        ([narrow] * 3, r"expected \[8, 8\] \(in, out\), got \[5, 8\]"),
        ([actor] * 3, "head"),
        ([nn.Linear(8, 1)] * 3, "expected Linear LayerNorm Linear LayerNorm and 1"),
    ):
        with pytest.raises(InvalidArgument, match=message):
            agent.load_modules(actor, bad)
    with pytest.raises(InvalidArgument, match="alpha"):
        agent.load_modules(actor, critics, alpha=0.0)
    assert all(torch.equal(before[name], agent.state_dict()[name]) for name in before)


# ---- learning rates


def test_schedules_drive_each_networks_rate():
    """The actor's rate is 0 at its own step 0, the critics' at their step 1; the other steps move them."""
    agent = EnsembleSAC(OBS, ACT, actor_lr=linear(0.0, 1.0, 1), critic_lr=linear(1e-3, 0.0, 1), alpha_lr=0.0, **SMALL)
    own = agent.learner
    start = [t.clone() for t in own.critics.tensors()]
    rows = random_rows((0,), 6)
    once = EnsembleSAC(OBS, ACT, critic_lr=1e-3, **SMALL)
    draws, actor = online_draws(agent, 3, 2), [t.clone() for t in own.actor.tensors()]
    agent.update_batch(rows, draws)
    assert own.critic_moments.step == 2 and own.actor_moments.step == 1
    assert all(torch.equal(a, b) for a, b in zip(actor, own.actor.tensors(), strict=True))
    assert agent.alpha.item() == pytest.approx(1.0, rel=2**-22)
    from rewarm.rl import update as composition

    noise, subset = draws.target_noise[:, 0].contiguous(), draws.target_subset[:, 0].contiguous()
    composition.critic_step(once.learner, rows.minibatch(0, 3), noise, subset, once.settings)
    assert all(torch.equal(a, b) for a, b in zip(once.learner.critics.tensors(), own.critics.tensors(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(start, own.critics.tensors(), strict=True))
    agent.update_batch(rows, draws)
    assert not any(torch.equal(a, b) for a, b in zip(actor, own.actor.tensors(), strict=True) if a.any())


def test_polyak_of_zero_and_one():
    old, new = torch.randn(50), torch.randn(50)
    for tau, expected in ((0.0, old), (1.0, new)):
        target = old.clone()
        polyak([target], [new], tau)
        assert torch.equal(target, expected)


# ---- buffers


def test_update_draws_utd_minibatches_and_counts_them():
    agent, buffer = EnsembleSAC(OBS, ACT, seeds=(0, 1), **SMALL), Rolling((0, 1), 50)
    info = agent.update(buffer, utd=3, batch=4)
    assert buffer.drawn == [(12, [0, 0], 0)] and agent.offset.tolist() == [3, 3]
    assert set(info) == {"critic_loss", "q", "q_target", "actor_loss", "alpha", "alpha_loss", "entropy"}
    assert all(value.shape == (2,) and value.dtype is torch.float32 for value in info.values())
    agent.update(buffer, utd=1, batch=2)
    assert buffer.drawn[1] == (2, [3, 3], 0)


def test_every_minibatch_has_its_share_of_both_buffers():
    from rewarm.rl.rows import sample_mixed

    online, offline = Rolling((0, 1), 50), Rolling((0, 1), 50, first=100)
    offset = torch.tensor([6, 6])
    rows = sample_mixed(online, offline, 0.25, 3, 8, offset, "here: ")
    expected = [[6 * u + i for i in range(6)] + [100 + 2 * u + i for i in range(2)] for u in range(3)]
    assert (
        rows.reward.tolist() == [[reward for part in expected for reward in part]] * 2
        and rows.obs.shape == (2, 24, OBS)
        and rows.obs.is_contiguous()
    )
    assert online.drawn == [(18, [6, 6], 0)] and offline.drawn == [(6, [6, 6], 18)]
    assert sample_mixed(online, offline, 0.0, 3, 8, offset, "").reward.max() < 100
    assert sample_mixed(online, offline, 1.0, 3, 8, offset, "").reward.min() >= 100
    for second, ratio, message in ((offline, 0.3, "whole number of 8 rows"), (None, 0.5, "without an offline buffer")):
        with pytest.raises(InvalidArgument, match=message):
            sample_mixed(online, second, ratio, 3, 8, offset, "here: ")
    EnsembleSAC(OBS, ACT, seeds=(0, 1), **SMALL).update(online, utd=1, batch=4, offline=offline, offline_ratio=0.5)


# ---- what is refused


@pytest.mark.parametrize(
    "options, message",
    [
        ({"obs_dim": 0}, "obs_dim: expected a whole number >= 1, got 0"),
        ({"critics": True}, "critics: expected a whole number"),
        ({"subset": 4}, "subset: expected at most critics = 3"),
        ({"hidden": ()}, "hidden: expected a sequence of at least one width"),
        ({"hidden": (8, 0)}, r"hidden\[1\]: expected a whole number >= 1"),
        ({"hidden": 8}, "hidden: expected a sequence"),
        ({"log_std": "exp"}, "log_std: expected one of 'state', 'free', got 'exp'"),
        ({"gamma": 1.5}, "gamma: expected a number >= 0 and <= 1, got 1.5"),
        ({"tau": float("nan")}, "tau: expected a finite number"),
        ({"critic_lr": -1e-3}, "critic_lr: expected a number >= 0"),
        ({"actor_lr": "1e-3"}, "actor_lr: expected a number or a Schedule"),
        ({"alpha_lr": warmup_cosine(1, 0, 5, 5, units="tokens")}, "alpha_lr: expected a Schedule in units of 'steps'"),
        ({"init_alpha": 0}, "init_alpha: expected a number > 0"),
        ({"backup_actions": 0}, "backup_actions"),
        ({"actor_q": "max"}, "actor_q: expected one of 'min', 'mean'"),
        ({"adam_semantics": "jax"}, "adam_semantics: expected one of 'standard', 'wsrl'"),
        ({"seeds": ()}, "seeds: expected a sequence of at least one seed"),
        ({"seeds": 3}, "seeds: expected a sequence"),
        ({"seeds": (-1,)}, r"seeds\[0\]: expected a whole number in \[0, 2\*\*63\)"),
        ({"layer_norm": 1}, "layer_norm: expected True or False"),
        ({"precision": "fp16"}, "precision: expected one of"),
        ({"precision": "bf16", "backend": "cpu"}, "expected 'fp32' on the cpu backend"),
        ({"backend": "gpu"}, "backend"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(InvalidArgument, match=message):
        EnsembleSAC(**({"obs_dim": OBS, "act_dim": ACT} | SMALL | options))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"n_actions": 0}, "n_actions"),
        ({"cql_weight": -1.0}, "cql_weight"),
        ({"cql_weight": Lagrange(init=0.0)}, "cql_weight.init"),
        ({"cql_temperature": 0.0}, "cql_temperature"),
        ({"calibrated": None}, "calibrated"),
    ],
)
def test_bad_cql_arguments_are_named(options, message):
    with pytest.raises(InvalidArgument, match=message):
        CalQL(OBS, ACT, **(SMALL | options))


def test_numpy_numbers_are_numbers(tmp_path):
    whole, real = np.int64(3), np.float32(0.5)
    agent = EnsembleSAC(whole, whole, hidden=(np.int32(4),), critics=whole, tau=real, actor_lr=real, seeds=(np.int64(7),))
    agent.save(tmp_path / "agent.pt")
    assert repr(EnsembleSAC.load(tmp_path / "agent.pt")) == repr(agent) and agent.config["tau"] == 0.5


def test_a_backend_without_q_ops_is_refused():
    with pytest.raises(BackendUnavailable, match="cuda"):
        EnsembleSAC(OBS, ACT, **(SMALL | {"backend": "cuda"}))


def test_bad_batches_are_refused_and_change_nothing():
    agent = CalQL(OBS, ACT, seeds=(0, 1), n_actions=2, **SMALL)
    before = {name: v.clone() for name, v in agent.state_dict().items() if isinstance(v, torch.Tensor)}
    rows = vars(random_rows((0, 1), 8))
    draws = online_draws(agent, 4, 2)
    bad = [
        ({"reward": rows["reward"][:1]}, InvalidArgument, r"batch.reward: expected a tensor \[2, N\]"),
        ({"obs": rows["obs"][..., :4]}, InvalidArgument, r"batch.obs: expected a tensor \[2, 8, 5\], got \[2, 8, 4\]"),
        ({"terminated": rows["terminated"].float()}, UnsupportedTensor, "batch.terminated: expected torch.bool"),
        ({"next_obs": None}, InvalidArgument, "batch.next_obs: expected a tensor"),
        ({"action": rows["action"].double()}, UnsupportedTensor, "batch.action: expected torch.float32"),
    ]
    for change, error, message in bad:
        with pytest.raises(error, match=message):
            agent.update_batch(rows | change, draws)
    with pytest.raises(InvalidArgument, match="mc_return"):
        agent.update_offline_batch(rows | {"mc_return": None})
    with pytest.raises(InvalidArgument, match="utd: expected a divisor of the batch's 8 rows, got 3"):
        agent.update_batch(rows, utd=3)
    with pytest.raises(InvalidArgument, match="target_noise"):
        agent.update_batch(rows, online_draws(agent, 5, 2))
    draws.target_subset = draws.target_subset[..., :1]
    with pytest.raises(InvalidArgument, match=r"target_subset: expected \[2, 2, 2\], got \[2, 2, 1\]"):
        agent.update_batch(rows, draws)
    wrong = offline_draws(agent, 8)
    wrong.uniform = None
    with pytest.raises(InvalidArgument, match="uniform: expected"):
        agent.update_offline_batch(rows, wrong)
    assert all(torch.equal(before[name], agent.state_dict()[name]) for name in before)
