"""What AdamW refuses in a CUDA graph capture, as far as it can be told without a GPU; the rest: test_adamw_cuda_graphs.py."""

import pytest
import torch

from rewarm.errors import CaptureError
from rewarm.optim import AdamW, capture
from rewarm.schedule import linear


def some_params():
    return [torch.nn.Parameter(torch.randn(3)) for _ in range(3)]


def test_capturable_must_be_asked_for_in_every_group():
    opt = AdamW([{"params": p, "capturable": i != 1} for i, p in enumerate(some_params())])
    with pytest.raises(CaptureError, match="group 1 has capturable=False: pass capturable=True"):
        capture.check_options(opt)
    opt.param_groups[1]["capturable"] = True
    capture.check_options(opt)


def test_a_torch_scheduler_is_told_by_the_step_that_it_wraps():
    """A private mark of torch: this test fails when a release of torch drops it."""
    opt = AdamW([{"params": p} for p in some_params()], lr=1e-2, capturable=True)
    capture.check_options(opt)
    torch.optim.lr_scheduler.LambdaLR(opt, lambda step: 1.0)
    with pytest.raises(CaptureError, match="group 0 has a float learning rate and a torch scheduler"):
        capture.check_options(opt)
    opt.param_groups[0]["lr"] = torch.tensor(1e-2)
    with pytest.raises(CaptureError, match="group 1 has a float learning rate"):
        capture.check_options(opt)
    opt.rewarm(linear(1e-2, 0.0, 10))
    capture.check_options(opt)


def test_parameters_without_gradient_are_named():
    params = some_params()
    opt = AdamW([("first", params[0]), ("second", params[1]), ("third", params[2])])
    for p in params[:2]:
        p.grad = torch.ones(3)
    opt.step()
    capture.check_gradients(opt, opt._plan)  # the third has no state: it was never stepped
    params[1].grad = None
    opt.step()
    with pytest.raises(CaptureError, match=r"param 'second' \(group 0, index 1\) has no gradient.*1 of 2 parameters"):
        capture.check_gradients(opt, opt._plan)


def test_nothing_is_refused_outside_a_capture():
    capture.refuse_while_capturing(torch.device("cpu"), "anything")
