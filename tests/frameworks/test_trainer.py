"""transformers.Trainer with a rewarm AdamW: schedule, log, checkpoints, tokens, re-warm."""

from __future__ import annotations

import pytest
import torch

transformers = pytest.importorskip("transformers")

from rewarm.errors import InvalidArgument, ScheduleConflict, StateDictMismatch  # noqa: E402
from rewarm.optim import AdamW  # noqa: E402
from rewarm.optim.trainer_callback import RewarmCallback  # noqa: E402
from rewarm.schedule import linear, warmup_cosine, wsd  # noqa: E402

SCHEDULE = warmup_cosine(1e-2, 1e-3, 3, 9)
#: Tokens of one update: two accumulated batches of two rows.
ROWS, LENGTH, ACCUMULATE = 2, 8, 2
TOKENS = ROWS * LENGTH * ACCUMULATE


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, i):
        ids = torch.randint(0, 50, (LENGTH,), generator=torch.Generator().manual_seed(i))
        return {"input_ids": ids, "labels": ids}


def tiny():
    """A GPT-2 of 2,000 or so parameters, from its config."""
    torch.manual_seed(3)
    config = transformers.GPT2Config(
        vocab_size=50, n_positions=LENGTH, n_embd=16, n_layer=1, n_head=2, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config)


def trainer(path, *, schedule=SCHEDULE, callback=None, steps=12, model=None, opt=None, on_conflict="error", **arguments):
    torch.set_num_threads(1)  # also in the fixture of the module, which runs before those of a function
    model = model or tiny()
    opt = opt or AdamW(model.parameters(), lr=schedule, max_grad_norm=0.5)
    settings = transformers.TrainingArguments(
        str(path), max_steps=steps, per_device_train_batch_size=ROWS, gradient_accumulation_steps=ACCUMULATE, max_grad_norm=0,
        logging_steps=1, save_steps=4, report_to=[], use_cpu=True, disable_tqdm=True, seed=5, dataloader_pin_memory=False,
        **arguments,
    )  # fmt: skip
    made = transformers.Trainer(
        model, settings, train_dataset=Rows(), optimizers=(opt, opt.as_lr_scheduler(on_conflict)),
        callbacks=[callback] if callback is not None else [],
    )  # fmt: skip
    made.remove_callback(transformers.PrinterCallback)
    return made, opt


def logged(made):
    return [entry["learning_rate"] for entry in made.state.log_history if "learning_rate" in entry]


def weights(made):
    return [p.detach().clone() for p in made.model.parameters()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of 12 updates with checkpoints after 4, 8 and 12."""
    path = tmp_path_factory.mktemp("trainer")
    made, opt = trainer(path)
    made.train()
    return made, opt, path


def test_the_log_is_the_schedule(whole):
    made, opt, _ = whole
    assert logged(made) == [SCHEDULE(k) for k in range(12)]
    assert made.state.log_history[0]["loss"] > made.state.log_history[11]["loss"]
    assert opt.state_dict()["param_groups"][0]["updates"] == 12


def test_the_log_is_read_without_touching_the_device(whole):
    _, opt, _ = whole
    scheduler = opt.as_lr_scheduler()
    tables, scalars = opt.tables, opt.tables.scalars
    try:
        tables.scalars = tables.counters = None  # whoever reads the device fails
        assert scheduler.get_last_lr() == [SCHEDULE(11)]
        assert scheduler.last_epoch == 12
    finally:
        tables.scalars, tables.counters = scalars, tables.host_counters


def test_resuming_from_a_checkpoint_is_bit_identical(whole):
    made, opt, path = whole
    again, resumed = trainer(path)
    again.train(resume_from_checkpoint=str(path / "checkpoint-4"))
    assert logged(again) == logged(made)
    assert all(torch.equal(p, q) for p, q in zip(weights(again), weights(made), strict=True))
    for p, q in zip(again.model.parameters(), made.model.parameters(), strict=True):
        for key, value in opt.state[q].items():
            assert torch.equal(resumed.state[p][key], value)


def test_another_schedule_in_the_checkpoint_is_a_conflict_with_both_shown(whole, tmp_path):
    _, _, path = whole
    other = linear(5e-3, 0.0, 12)
    made, _ = trainer(tmp_path, schedule=other)
    with pytest.raises(ScheduleConflict, match="the checkpoint has another schedule") as raised:
        made.train(resume_from_checkpoint=str(path / "checkpoint-4"))
    for k in range(4, 9):
        assert f"{SCHEDULE(k):.6g}" in str(raised.value)
        assert f"{other(k):.6g}" in str(raised.value)
    made, _ = trainer(tmp_path, schedule=other, on_conflict="checkpoint", steps=5)
    made.train(resume_from_checkpoint=str(path / "checkpoint-4"))
    assert logged(made)[4:] == [SCHEDULE(4)]


def test_a_rewarm_happens_after_loading_and_once(whole, tmp_path):
    _, _, path = whole
    new = wsd(2e-2, 0.0, 1, 2, 3)
    made, _ = trainer(tmp_path, callback=RewarmCallback(rewarm=new), steps=10)
    made.train(resume_from_checkpoint=str(path / "checkpoint-4"))
    assert logged(made) == [SCHEDULE(k) for k in range(4)] + [new(k) for k in range(6)]
    again, _ = trainer(tmp_path, callback=RewarmCallback(rewarm=new), steps=10)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-8"))
    assert logged(again) == logged(made)
    assert all(torch.equal(p, q) for p, q in zip(weights(again), weights(made), strict=True))


@pytest.mark.parametrize("given", [None, TOKENS])
def test_a_schedule_in_tokens_gets_those_of_every_update(tmp_path, given):
    schedule = linear(1e-2, 0.0, 5 * TOKENS, units="tokens")
    callback = RewarmCallback(tokens_per_update=given)
    arguments = {} if given else {"include_num_input_tokens_seen": "all"}
    made, opt = trainer(tmp_path, schedule=schedule, callback=callback, steps=4, **arguments)
    made.train()
    assert logged(made) == [schedule(k * TOKENS) for k in range(4)]
    assert opt.state_dict()["param_groups"][0]["tokens"] == 4 * TOKENS
    # The hook is gone: training by hand needs the tokens again.
    opt.zero_grad()
    made.model(**{k: v[None] for k, v in Rows()[0].items()}).loss.backward()
    with pytest.raises(InvalidArgument, match="tokens"):
        opt.step()


def test_tokens_that_nobody_counts_are_an_error(tmp_path):
    made, _ = trainer(tmp_path, schedule=linear(1e-2, 0.0, 99, units="tokens"), callback=RewarmCallback(), steps=1)
    with pytest.raises(InvalidArgument, match="include_num_input_tokens_seen"):
        made.train()


def test_clipping_twice_is_said(tmp_path):
    model = tiny()
    opt = AdamW(model.parameters(), max_grad_norm=1.0)
    callback = RewarmCallback()
    settings = transformers.TrainingArguments(str(tmp_path), report_to=[], use_cpu=True)
    with pytest.warns(UserWarning, match="set max_grad_norm=0 in TrainingArguments"):
        callback.on_train_begin(settings, transformers.TrainerState(), transformers.TrainerControl(), optimizer=opt)


def test_the_state_of_another_scheduler_is_refused():
    (p,) = [torch.nn.Parameter(torch.ones(2))]
    opt = AdamW([p], lr=SCHEDULE)
    other = torch.optim.lr_scheduler.LambdaLR(torch.optim.AdamW([p]), lambda k: 1.0)
    with pytest.raises(StateDictMismatch, match="another scheduler"):
        opt.as_lr_scheduler().load_state_dict(other.state_dict())
    with pytest.raises(InvalidArgument, match="on_conflict"):
        opt.as_lr_scheduler("config?")
    with pytest.raises(InvalidArgument, match="rewarm"):
        RewarmCallback(rewarm=1e-3)


def test_a_scheduler_state_without_its_optimizer_is_a_conflict():
    (p,) = [torch.nn.Parameter(torch.ones(2))]
    opt = AdamW([p], lr=SCHEDULE)
    for _ in range(2):
        p.grad = torch.ones(2)
        opt.step()
    saved = opt.as_lr_scheduler().state_dict()
    fresh = AdamW([p], lr=SCHEDULE)
    with pytest.raises(ScheduleConflict, match="saved after 2 updates, the optimizer stands at 0"):
        fresh.as_lr_scheduler().load_state_dict(saved)
