"""A step of transformers.Trainer with rewarm's AdamW, and with torch's fused AdamW, LambdaLR and the Trainer's clip.

    python bench/trainer.py [--rounds 12] [--steps 40] [--threads 1] [--json FILE]

The two train the same randomly initialised model alternately in one process, `steps` updates a round; the first updates of a
round are left out. A step is everything between on_step_begin and on_step_end: forward, backward, clip, update, scheduler,
zero_grad and the Trainer's own work.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import torch
import transformers

from rewarm import __version__
from rewarm.optim import AdamW
from rewarm.schedule import warmup_cosine

#: Layers, width, rows and tokens of a batch: one where Python and launches matter, one where arithmetic does.
SETS = {"tiny": (2, 64, 1, 16), "small": (4, 256, 4, 64)}
#: Updates at the beginning of a round that are not counted: caches and state are cold.
LEFT_OUT = 5


class Rows(torch.utils.data.Dataset):
    """Random tokens, always the same."""

    def __init__(self, n: int, length: int) -> None:
        self.ids = torch.randint(0, 256, (n, length), generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.ids[i], "labels": self.ids[i]}


class Clock(transformers.TrainerCallback):
    """Seconds of every step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def on_step_begin(self, *args, **kwargs) -> None:
        self.begin = time.perf_counter()

    def on_step_end(self, *args, **kwargs) -> None:
        self.seconds.append(time.perf_counter() - self.begin)


class Arm:
    """A model, its optimizer and what was measured."""

    def __init__(self, name: str, size: str, steps: int, rounds: int) -> None:
        self.layers, self.width, self.batch, self.length = SETS[size]
        torch.manual_seed(0)
        config = transformers.GPT2Config(
            vocab_size=256, n_positions=self.length, n_embd=self.width, n_layer=self.layers, n_head=4, bos_token_id=0,
            eos_token_id=0,
        )  # fmt: skip
        self.model = transformers.GPT2LMHeadModel(config)
        self.name, self.steps = name, steps
        self.seconds: list[float] = []
        total, warmup = steps * rounds, 10
        if name == "rewarm":
            schedule = warmup_cosine(1e-3, 1e-4, warmup, total - warmup)
            self.optimizer = AdamW(self.model.parameters(), lr=schedule, weight_decay=0.1, max_grad_norm=1.0)
            self.scheduler = self.optimizer.as_lr_scheduler()
            self.max_grad_norm = 0.0
        else:
            self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, weight_decay=0.1, fused=True)
            self.scheduler = transformers.get_cosine_schedule_with_warmup(self.optimizer, warmup, total)
            self.max_grad_norm = 1.0

    def run(self, folder: str) -> None:
        """One round."""
        clock = Clock()
        settings = transformers.TrainingArguments(
            folder, max_steps=self.steps, per_device_train_batch_size=self.batch, max_grad_norm=self.max_grad_norm,
            report_to=[], use_cpu=True, disable_tqdm=True, save_strategy="no", logging_strategy="no",
            dataloader_pin_memory=False,
        )  # fmt: skip
        trainer = transformers.Trainer(
            self.model, settings, train_dataset=Rows(64 * self.batch, self.length),
            optimizers=(self.optimizer, self.scheduler), callbacks=[clock],
        )  # fmt: skip
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
        self.seconds += clock.seconds[LEFT_OUT:]


def main() -> None:
    """Measures, prints, writes."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=12)
    options.add_argument("--steps", type=int, default=40)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--sets", default=",".join(SETS))
    options.add_argument("--json", type=Path)
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    results = []
    for size in given.sets.split(","):
        arms = [Arm(name, size, given.steps, given.rounds) for name in ("rewarm", "torch fused")]
        with tempfile.TemporaryDirectory() as folder:
            for _ in range(given.rounds):
                for arm in arms:
                    arm.run(folder)
        ours = statistics.median(arms[0].seconds)
        for arm in arms:
            median = statistics.median(arm.seconds)
            quarters = statistics.quantiles(arm.seconds, n=4)
            results.append(
                {
                    "workload": f"trainer/{size}", "variant": arm.name, "device": "cpu", "threads": given.threads,
                    "parameters": sum(p.numel() for p in arm.model.parameters()),
                    "tensors": sum(1 for _ in arm.model.parameters()),
                    "median_s": median, "lower_quartile_s": quarters[0], "upper_quartile_s": quarters[2],
                    "min_s": min(arm.seconds), "max_s": max(arm.seconds), "runs": len(arm.seconds),
                    "ratio_to_ours": median / ours,
                }
            )  # fmt: skip
            print(
                f"{size:6} {arm.name:12} {1e6 * median:9.1f} us a step (quartiles {1e6 * quarters[0]:.1f} to "
                f"{1e6 * quarters[2]:.1f}, {len(arm.seconds)} steps), {median / ours:.3f} x rewarm"
            )
    if given.json is not None:
        header = {"versions": {"rewarm": __version__, "torch": torch.__version__, "transformers": transformers.__version__}}
        given.json.write_text(json.dumps({"header": header, "results": results}, indent=1))


if __name__ == "__main__":
    main()
