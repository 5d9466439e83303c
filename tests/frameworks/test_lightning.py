"""pytorch_lightning with a rewarm AdamW: automatic and manual optimization, with and without a scheduler, checkpoints."""

from __future__ import annotations

import logging
import warnings

import pytest
import torch

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what lightning's own imports warn of is not ours to fix
    lightning = pytest.importorskip("pytorch_lightning")

from rewarm.errors import ScheduleConflict
from rewarm.optim import AdamW
from rewarm.schedule import linear, warmup_cosine

SCHEDULE = warmup_cosine(1e-2, 1e-3, 3, 9)
pytestmark = pytest.mark.filterwarnings("ignore::Warning:pytorch_lightning.*", "ignore::Warning:lightning_utilities.*")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)


class Model(lightning.LightningModule):
    """`form`: what configure_optimizers returns; `manual`: who calls backward and step."""

    def __init__(self, form="optimizer", manual=False, schedule=SCHEDULE):
        super().__init__()
        torch.manual_seed(1)
        self.net = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        self.form, self.schedule = form, schedule
        self.automatic_optimization = not manual
        self.rates = []

    def configure_optimizers(self):
        opt = AdamW(self.net.parameters(), lr=self.schedule, max_grad_norm=0.5)
        if self.form == "optimizer":
            return opt
        return {"optimizer": opt, "lr_scheduler": {"scheduler": opt.as_lr_scheduler(), "interval": "step"}}

    def training_step(self, batch, index):
        # A run that is resumed within an epoch sees the loader from its beginning: the data follow the step instead.
        generator = torch.Generator().manual_seed(self.global_step)
        x, y = torch.randn(4, 5, generator=generator), torch.randn(4, 1, generator=generator)
        loss = (self.net(x) - y).square().mean()
        if not self.automatic_optimization:
            opt = self.optimizers()
            opt.zero_grad()
            self.manual_backward(loss)
            opt.step()
        return loss

    def on_train_batch_end(self, outputs, batch, index):
        opt = self.optimizers().optimizer
        scheduler = self.lr_schedulers()
        self.rates.append(opt.param_groups[0]["lr"] if scheduler is None else scheduler.get_last_lr()[0])


def batches():
    return torch.utils.data.DataLoader(range(12))


def fit(path, model, steps, checkpoint=None):
    trainer = lightning.Trainer(
        default_root_dir=str(path), max_steps=steps, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, batches(), ckpt_path=checkpoint)
    return trainer


@pytest.mark.parametrize("form", ["optimizer", "with scheduler"])
@pytest.mark.parametrize("manual", [False, True], ids=["automatic", "manual"])
def test_training_follows_the_schedule_and_resumes_bit_identically(tmp_path, form, manual):
    whole = Model(form, manual)
    fit(tmp_path, whole, 9)
    assert whole.rates == [SCHEDULE(k) for k in range(9)]
    part = Model(form, manual)
    saved = tmp_path / "part.ckpt"
    fit(tmp_path, part, 4).save_checkpoint(saved)
    resumed = Model(form, manual)
    trainer = fit(tmp_path, resumed, 9, str(saved))
    assert part.rates + resumed.rates == whole.rates
    for p, q in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(p, q)
    (opt,) = trainer.optimizers
    assert opt.state_dict()["param_groups"][0]["updates"] == 9


def test_the_forms_train_alike(tmp_path):
    ends = []
    for form in ("optimizer", "with scheduler"):
        for manual in (False, True):
            model = Model(form, manual)
            fit(tmp_path, model, 5)
            ends.append([p.detach().clone() for p in model.parameters()])
    for other in ends[1:]:
        assert all(torch.equal(p, q) for p, q in zip(ends[0], other, strict=True))


def test_another_schedule_in_the_checkpoint_is_a_conflict(tmp_path):
    saved = tmp_path / "part.ckpt"
    fit(tmp_path, Model("with scheduler"), 4).save_checkpoint(saved)
    with pytest.raises(ScheduleConflict, match="configured"):
        fit(tmp_path, Model("with scheduler", schedule=linear(1.0, 0.0, 9)), 9, str(saved))
