"""How parameters start, and what Network promises about order and memory."""

import pytest
import torch

from rewarm.rl import EnsembleSAC
from rewarm.rl.networks import make_network


def test_orthogonal_layers_and_heads():
    agent = EnsembleSAC(6, 2, critics=3, hidden=(8, 16), actor_hidden=(12,), last_hidden_scale=0.01)
    actor, critics = agent.learner.actor, agent.learner.critics
    for matrix, gain in ((critics.layers[0][0], 2**0.5), (critics.layers[1][0], 0.01), (actor.layers[0][0], 0.01)):
        rows, columns = matrix.shape[-2:]
        gram = matrix @ matrix.mT if rows <= columns else matrix.mT @ matrix
        # rows of a QR factor are orthonormal to some ulps; the gain is squared
        assert (gram - gain**2 * torch.eye(min(rows, columns))).abs().max() < gain**2 * 64 * 2.0**-24
    for half in actor.head[0].chunk(2, -1):  # mean and log std are orthogonal each for itself
        assert (half.mT @ half - 2 * torch.eye(2)).abs().max() < 2 * 64 * 2.0**-24
    assert (critics.head[0].square().sum(-1) - 2).abs().max() < 2 * 64 * 2.0**-24
    for layer in critics.layers + actor.layers:
        assert not layer[1].any() and (layer[2] == 1).all() and not layer[3].any()
    assert not actor.head[1].any() and not critics.head[1].any()


@pytest.mark.parametrize("free", [0, 3], ids=["two-heads", "free-log-std"])
def test_order_and_shapes(free):
    network = make_network(
        torch.tensor([0, 1]),
        number=0,
        members=1,
        inputs=5,
        hidden=(8, 4),
        outputs=3 if free else 6,
        heads=1 if free else 2,
        free_log_std=free,
        layer_norm=True,
    )
    named = dict(network.named_tensors())
    first = ["layers.0.weight", "layers.0.bias", "layers.0.ln_weight", "layers.0.ln_bias"]
    assert list(named)[:4] == first and list(named)[8:10] == ["head.weight", "head.bias"]
    assert (list(named)[-1] == "log_std") == bool(free)
    shapes = [list(t.shape) for t in network.tensors()[:5]]
    assert shapes == [[2, 1, 5, 8], [2, 1, 8], [2, 1, 8], [2, 1, 8], [2, 1, 8, 4]]
    assert list(network.head[0].shape) == [2, 1, 4, 3 if free else 6]
    assert all(t.is_contiguous() and t.dtype is torch.float32 for t in network.tensors())
    assert network.n_parameters == sum(t.numel() for t in network.tensors()) // 2
    shared, copied = network.leaves(), network.clone()
    assert [t.data_ptr() for t in shared.tensors()] == [t.data_ptr() for t in network.tensors()]
    assert all(t.requires_grad for t in shared.tensors()) and not any(t.requires_grad for t in network.tensors())
    assert not {t.data_ptr() for t in copied.tensors()} & {t.data_ptr() for t in network.tensors()}


def test_a_critics_head_has_no_output_axis():
    network = make_network(torch.tensor([0]), number=1, members=4, inputs=5, hidden=(8,), outputs=None, layer_norm=False)
    assert [list(t.shape) for t in network.tensors()] == [[1, 4, 5, 8], [1, 4, 8], [1, 4, 8], [1, 4]]
