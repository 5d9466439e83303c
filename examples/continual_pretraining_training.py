"""What all arms of continual_pretraining.py share: a small GPT-NeoX, AdamW as in the paper, and the training loop."""

import math
import time
from collections.abc import Callable, Iterable

import torch
from local_text import UsageError

from rewarm.schedule import Schedule, warmup_cosine

WARMUP = 0.01  # of the updates of a run, as in the paper
FLOOR = 0.1  # minimum over maximum learning rate, as in the paper
HEAD = 32  # width of an attention head
EVALUATED = (0, 0.01, 0.02, 0.04, 0.07, 0.125, 0.1875, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1)  # fractions of a run


# ------------------------------------------------------------------------------------------------- model and optimizer


def load_pretrained(name: str):
    """Model, tokenizer and end-of-text id from a hub, its cache or a folder."""
    from transformers import AutoConfig, AutoTokenizer, GPTNeoXForCausalLM

    try:
        config = AutoConfig.from_pretrained(name)
        if config.model_type != "gpt_neox":
            raise ValueError(f"its architecture is {config.model_type!r}, accepted is 'gpt_neox' (Pythia, GPT-NeoX)")
        model, tokenizer = GPTNeoXForCausalLM.from_pretrained(name), AutoTokenizer.from_pretrained(name)
    except Exception as error:  # a hub fails in many ways: no network, no such name, a gate, half a download
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(
            f"--model {name}: {reason}\nAccepted are a GPT-NeoX model of a hub that this machine reaches or has in its "
            "cache, or a folder with model and tokenizer. Without --model a small one is trained, with no download."
        ) from error
    return model.float(), tokenizer.backend_tokenizer, tokenizer.eos_token_id


def fresh_model(config, seed: int, device: str):
    """A GPT-NeoX with new weights, always the same for a seed."""
    from transformers import GPTNeoXForCausalLM

    torch.manual_seed(seed)
    return GPTNeoXForCausalLM(config).float().to(device)


def small_config(vocab: int, width: int, layers: int, context: int):
    """The Pythia architecture in small: rotary, parallel residual, untied embeddings, no dropout."""
    from transformers import GPTNeoXConfig

    return GPTNeoXConfig(
        vocab_size=vocab,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // HEAD,
        max_position_embeddings=context,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=0,
        use_cache=False,
    )


class TorchAdamW:
    """torch.optim.AdamW, LambdaLR and clip_grad_norm_ behind the calls of rewarm.optim.AdamW that are used here."""

    def __init__(self, groups, lr: Schedule, max_grad_norm: float, **options):
        self.optimizer = torch.optim.AdamW(groups, lr=1.0, **options)
        self.parameters = [p for group in groups for p in group["params"]]
        self.max_grad_norm, self.grad_norm, self.last_lr = max_grad_norm, None, None
        self.rewarm(lr)

    def rewarm(self, schedule: Schedule) -> None:
        """Follow another schedule from its start; the moments are kept."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] = 1.0
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, schedule)

    def step(self) -> None:
        """Clip, update, advance the schedule."""
        self.grad_norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm)
        self.last_lr = torch.tensor(self.scheduler.get_last_lr(), dtype=torch.float64)
        self.optimizer.step()
        self.scheduler.step()

    def zero_grad(self) -> None:
        """Drop the gradients."""
        self.optimizer.zero_grad()

    def state_dict(self) -> dict:
        """Moments and counters of the optimizer; a schedule is a function and stays behind."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state: dict) -> None:
        """Load what state_dict gave; rewarm() must follow."""
        self.optimizer.load_state_dict(state)


def make_optimizer(kind: str, model, schedule: Schedule):
    """AdamW as in the paper: betas (0.9, 0.95), weight decay 0.1 on matrices only, gradients clipped to norm 1."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    options = {"betas": (0.9, 0.95), "eps": 1e-8, "max_grad_norm": 1.0}
    if kind == "rewarm":
        from rewarm.optim import AdamW

        return AdamW(groups, lr=schedule, **options)
    return TorchAdamW(groups, lr=schedule, fused=kind == "torch", foreach=kind == "torch-foreach", **options)


def decaying(max_lr: float, steps: int, warmup: float = WARMUP) -> Schedule:
    """Linear warm-up to max_lr over a fraction of the steps, then a cosine that reaches its floor with the last update."""
    warmup_steps = max(1, round(warmup * steps)) if warmup else 0
    return warmup_cosine(max_lr, FLOOR * max_lr, warmup_steps, steps - warmup_steps)


# ------------------------------------------------------------------------------------------------------------ training


def window_order(count: int, wanted: int, seed: int) -> torch.Tensor:
    """Window numbers [wanted] in an order that depends on the seed only; every pass sees each window once."""
    generator = torch.Generator().manual_seed(seed)
    passes = [torch.randperm(count, generator=generator) for _ in range(math.ceil(wanted / count))]
    return torch.cat(passes)[:wanted]


def update(model, optimizer, x: torch.Tensor) -> torch.Tensor:
    """One update on a batch of windows; the training loss before it."""
    loss = model(input_ids=x, labels=x).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()


@torch.no_grad()
def validation_loss(model, windows: torch.Tensor, batch: int) -> float:
    """Mean loss in nat a token."""
    total = sum(model(input_ids=x, labels=x).loss.item() * len(x) for x in windows.split(2 * batch))
    return total / len(windows)


def train(
    label: str,
    model,
    optimizer,
    inputs: Iterable[torch.Tensor],
    watched: dict[str, torch.Tensor],
    steps: int,
    *,
    show: bool = True,
    after: Callable[[int], None] = lambda done: None,
) -> dict:
    """Runs an update on each of the `steps` batches [batch, context] of `inputs`, and evaluates on every watched corpus.

    It evaluates at the start, the end and often early on; `after` is called with the number of updates done.
    """
    from tqdm import tqdm

    due = {round(fraction * steps) for fraction in EVALUATED}
    began, computed, evaluations, losses, rates, tokens = time.perf_counter(), time.process_time(), [], [], [], 0
    batches = iter(inputs)
    bar = tqdm(
        range(steps + 1), desc=f"{label:20}", unit="update", disable=None if show else True, leave=False, mininterval=0.5
    )
    for done in bar:
        after(done)
        if done in due:
            point = {"step": done, "tokens": tokens}
            point |= {name: validation_loss(model, windows, 16) for name, windows in watched.items()}
            point["training"] = torch.stack(losses).mean().item() if losses else None
            point["lr"] = optimizer.last_lr.max().item() if done else None
            point["grad_norm"] = float(optimizer.grad_norm) if done else None
            bad = [name for name, value in point.items() if value is not None and not math.isfinite(value)]
            if bad:
                raise UsageError(f"{label} run: {bad[0]} is not finite after {done} updates; try a smaller --max-lr")
            evaluations.append(point)
            losses = []
        if done == steps:
            break
        x = next(batches)
        tokens += x.numel()
        losses.append(update(model, optimizer, x))
        rates.append(optimizer.last_lr.max())
    seconds = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - computed}
    if show:
        print(f"  {label:20} {steps:6,} updates {seconds['seconds']:7.1f} s")
    return {"label": label, **seconds, "evaluations": evaluations, "lr": [float(rate) for rate in rates]}
