"""Real text for the examples, from files or from what a machine with Python has, as windows of tokens in two splits."""

import gzip
import importlib.util
import math
import os
import re
import sysconfig
import zlib
from pathlib import Path

import torch

FAMILY = 256 * 1024  # characters of prose taken from the pages of one program or package
PIECE = 32 * 1024  # characters; longer documents are cut at a line end, so that a single huge file can be split too
HELD_OUT = 10  # one piece in so many is validation text
LEAST = 8  # windows of training or of validation text


class UsageError(Exception):
    """What was asked for cannot be done; the message says what was wrong and what is accepted."""


def read_text(path: Path) -> str:
    """Text of a plain or gzipped file; empty when it is unreadable or not text."""
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        return ""
    return "" if b"\0" in data[:8192] else data.decode("utf-8", errors="replace")


def scattered(paths, root: Path) -> list[Path]:
    """Paths in an order that is fixed but unrelated to their names, so that a size cap keeps a broad sample."""
    return sorted(paths, key=lambda p: (zlib.crc32(str(p.relative_to(root)).encode()), str(p)))


def standard_library():
    """Python's own sources: no tests, no tables of characters, and not the prose that serves as downstream."""
    root = Path(sysconfig.get_path("stdlib"))
    skipped = {"site-packages", "dist-packages", "test", "tests", "idle_test", "encodings", "pydoc_data", "__pycache__"}
    for path in scattered((p for p in root.rglob("*.py") if not skipped & set(p.relative_to(root).parts)), root):
        yield "standard library", read_text(path)


def manual_page(text: str) -> str:
    """The words of a manual page: its comments (licences), layout requests and font changes are dropped."""
    words = re.compile(r"^\.(?:S[HSMB]|[BIR]{1,2}|[A-Z][a-z]) (.*)", re.M)  # requests whose words are text
    text = words.sub(lambda found: found[1].replace('"', ""), text)
    text = re.sub(r"^[.'].*\n", "", text, flags=re.M)
    text = re.sub(r"\\f(\[\w*\]|\(\w\w|\w)|\\[&/|c]", "", text)
    for mark, plain in (("\\-", "-"), ("\\(em", "--"), ("\\(bu", "*"), ("\\(aq", "'"), ("\\ ", " "), ("\\e", "\\")):
        text = text.replace(mark, plain)
    return re.sub(r"\n{3,}", "\n\n", text)


def prose():
    """Python's help topics, then manual pages and documentation of this machine, as far as there are any."""
    if importlib.util.find_spec("pydoc_data") is not None:
        from pydoc_data.topics import topics

        for name in sorted(topics):
            yield "help topics", topics[name]
    share, taken = Path("/usr/share"), {}
    text_file = r".*(\.(txt|md|rst)|/readme[^/.]*)(\.gz)?"
    wanted = re.compile(r"man/man\d/[^/]+|doc/(?!.*(change|copyright|news|licen))" + text_file)
    walked = (entry for top in ("man", "doc") for entry in os.walk(share / top))
    found = (Path(folder, name) for folder, _, names in walked for name in names)
    paths = (p for p in found if wanted.fullmatch(str(p.relative_to(share)).lower()) and not p.is_symlink())
    for path in scattered(paths, share):
        family = re.match(r"(man/man\d/|doc/)[^-_./]*", str(path.relative_to(share))).group()
        if taken.get(family, 0) < FAMILY:  # or one program with thousands of pages would be most of the corpus
            text, is_manual = read_text(path), family.startswith("man")
            text = manual_page(text) if is_manual else text
            taken[family] = taken.get(family, 0) + len(text)
            yield "manual pages" if is_manual else "documentation", text


def given(paths: list[str]):
    """Every text file under the given files and folders, hidden ones left out, and of packages named apt:NAME."""
    for named in paths:
        if named.startswith("apt:"):
            from debian_package import package_text

            yield from package_text(named.removeprefix("apt:"))
            continue
        root = Path(named)
        if not root.exists():
            raise UsageError(f"no such file or folder: {str(root)!r}; --upstream and --downstream take existing ones")
        inside = [p for p in root.rglob("*") if not any(part.startswith(".") for part in p.relative_to(root).parts)]
        for path in scattered((p for p in inside if p.is_file()), root) if root.is_dir() else [root]:
            yield str(root), read_text(path)


def load_corpus(name: str, paths: list[str] | None, default, max_bytes: int) -> dict:
    """Up to max_bytes of text in training and validation pieces; the same text is always cut and split alike."""
    pieces, seen, size, origins = [], set(), 0, {}
    for origin, text in given(paths) if paths else default():
        if size >= max_bytes:
            break
        text, digest = text[: max_bytes - size], zlib.crc32(text.encode())
        if digest in seen or not text.strip():
            continue
        seen.add(digest)
        size += len(text.encode())
        origins[origin] = origins.get(origin, 0) + 1
        while text:
            end = len(text) if len(text) <= PIECE else text.rfind("\n", 0, PIECE) + 1 or PIECE
            pieces.append(text[:end])
            text = text[end:]
    if len(pieces) < 2:
        raise UsageError(
            f"{name} corpus: {len(seen)} texts with {size:,} bytes in {', '.join(paths) if paths else 'the default'}; "
            f"accepted are files or folders of text (plain or .gz) of {2 * PIECE:,} bytes or more, named by --{name}"
        )
    order = sorted(range(len(pieces)), key=lambda i: (zlib.crc32(pieces[i].encode()), i))
    held_out = set(order[: math.ceil(len(pieces) / HELD_OUT)])
    training = [piece for i, piece in enumerate(pieces) if i not in held_out]
    validation = [piece for i, piece in enumerate(pieces) if i in held_out]
    facts = {"texts": len(seen), "bytes": size, "origins": origins, "crc32": zlib.crc32("".join(pieces).encode())}
    return {"name": name, "facts": facts, "training": training, "validation": validation}


def fit_tokenizer(pieces: list[str], vocabulary: int):
    """Byte-level BPE of the upstream training text, which downstream text has to do with, as in the paper."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(pieces, trainer)
    return tokenizer, 0


def tokenize(corpus: dict, tokenizer, end_of_text: int, context: int, eval_windows: int, device: str) -> dict:
    """Replaces the pieces of a corpus by int64 windows of tokens [n, context]; validation ones are spread evenly."""
    for split in ("training", "validation"):
        ids = []
        for encoding in tokenizer.encode_batch(corpus.pop(split), add_special_tokens=False):
            ids += encoding.ids
            ids.append(end_of_text)
        count = len(ids) // context
        if count < LEAST:
            raise UsageError(
                f"{corpus['name']} corpus: {len(ids):,} {split} tokens make {count} windows of {context}; at least "
                f"{LEAST} are needed: name more text with --{corpus['name']} or take a smaller --context"
            )
        windows = torch.tensor(ids[: count * context]).view(count, context)
        if split == "validation" and count > eval_windows:
            windows = windows[torch.linspace(0, count - 1, eval_windows).long()]
        corpus["facts"][f"{split}_tokens"] = windows.numel()
        corpus[split] = windows.to(device)
    return corpus
