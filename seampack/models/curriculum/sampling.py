"""Responses of a model, many for each prompt, kept in a file as they come so that a killed run goes on."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import torch
import xxhash
from tqdm import tqdm

from seampack.errors import ConfigError, DataError, ShardError
from seampack.models.text import end_tokens, quiet

Sampler = Callable[[list[str], int], list[list[str]]]
"""Of prompts and n: n responses for each prompt. An attribute ``label``, if any, says what is sampled from."""

FORMAT = "seampack samples 1"


@dataclass(frozen=True)
class TransformersSampler:
    """Samples from a causal language model of transformers.

    The random numbers depend on ``seed`` and the prompts alone: the same call gives the same responses, whatever was
    sampled before. ``temperature = 0`` is greedy. At most ``batch_responses`` are written at once.
    """

    model: Any
    tokenizer: Any
    temperature: float = 0.7
    max_new_tokens: int = 256
    batch_responses: int = 512
    seed: int = 0

    def __call__(self, prompts: list[str], n: int) -> list[list[str]]:
        """n responses for each prompt, without special tokens."""
        found: list[list[str]] = [[] for _ in prompts]
        order = sorted(range(len(prompts)), key=lambda at: len(prompts[at]))
        step = max(1, self.batch_responses // n)
        was_training = self.model.training
        self.model.eval()
        for start in range(0, len(prompts), step):
            which = order[start : start + step]
            chosen = [prompts[at] for at in which]
            # greedy, all n are the same
            texts = (
                self._generate(chosen, n)
                if self.temperature
                else [t for t in self._generate(chosen, 1) for _ in range(n)]
            )
            for place, at in enumerate(which):
                found[at] = texts[place * n : (place + 1) * n]
        self.model.train(was_training)
        return found

    @cached_property
    def label(self) -> str:
        """Names the weights, by a sample of each tensor, and how they are sampled from."""
        digest = xxhash.xxh3_128()
        for name, values in self.model.named_parameters():
            flat = values.detach().flatten()
            digest.update(name.encode())
            digest.update(flat[:: max(1, flat.numel() // 256)].float().cpu().numpy().tobytes())
        return f"{digest.hexdigest()} T={self.temperature:g} tokens={self.max_new_tokens} seed={self.seed}"

    def _generate(self, prompts: list[str], n: int) -> list[str]:
        device = next(self.model.parameters()).device
        batch = self.tokenizer(
            prompts, return_tensors="pt", padding=True, padding_side="left", return_token_type_ids=False
        ).to(device)
        sampled = {"do_sample": True, "temperature": self.temperature, "top_k": 0, "top_p": 1.0}
        seed = xxhash.xxh3_64_intdigest(json.dumps([self.seed, n, prompts]).encode()) >> 1
        with torch.inference_mode(), torch.random.fork_rng(), quiet():
            torch.manual_seed(seed)
            out = self.model.generate(
                **batch,
                **(sampled if self.temperature else {"do_sample": False}),
                num_return_sequences=n,
                max_new_tokens=self.max_new_tokens,
                pad_token_id=self.tokenizer.pad_token_id,
                eos_token_id=end_tokens(self.model, self.tokenizer),
            )
        texts: list[str] = self.tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        return texts


def sample_all(
    sample: Sampler,
    prompts: Sequence[str],
    n: int,
    *,
    batch_rows: int = 64,
    checkpoint: Path | None = None,
    title: str = "sampling",
) -> list[list[str]]:
    """n responses for each prompt, batch after batch, with a bar of progress on a terminal.

    With ``checkpoint`` each batch is added to that file (JSON lines) as soon as it is there, and is not sampled again.
    Raises ConfigError where the file is of other prompts or another sampler, ShardError where it is damaged, DataError
    where the sampler gives another number of responses.
    """
    batches = [list(prompts[at : at + batch_rows]) for at in range(0, len(prompts), batch_rows)]
    header = {
        "format": FORMAT,
        "prompts": xxhash.xxh3_128_hexdigest(json.dumps(list(prompts)).encode()),
        "rows": len(prompts),
        "n": n,
        "batch_rows": batch_rows,
        "label": str(getattr(sample, "label", "")),
    }
    done = [] if checkpoint is None else _resume(checkpoint, header, [len(batch) for batch in batches])
    bar = tqdm(total=len(prompts), initial=sum(map(len, done)), desc=title, unit="prompt", disable=None)
    with bar, checkpoint.open("ab") if checkpoint else open(os.devnull, "wb") as file:
        for number in range(len(done), len(batches)):
            responses = [list(map(str, texts)) for texts in sample(batches[number], n)]
            if [len(texts) for texts in responses] != [n] * len(batches[number]):
                counts = sorted({len(texts) for texts in responses})
                raise DataError(
                    f"the sampler gave {len(responses)} lists of {counts} responses; "
                    f"expected {len(batches[number])} lists of {n}"
                )
            _append(file, {"batch": number, "responses": responses})
            done.append(responses)
            bar.update(len(responses))
    return [texts for batch in done for texts in batch]


def _resume(path: Path, header: dict[str, Any], sizes: list[int]) -> list[list[list[str]]]:
    """The batches that a file holds; a line that was cut off is dropped, a file that is not there is begun."""
    content = path.read_bytes() if path.exists() else b""
    whole = content.rfind(b"\n") + 1
    lines = content[:whole].splitlines()
    path.parent.mkdir(parents=True, exist_ok=True)
    if not lines:
        with path.open("wb") as file:
            _append(file, header)
        return []
    remedy = "remove the file, or name another checkpoint"
    batches: list[list[list[str]]] = []
    try:
        found = json.loads(lines[0])
        if found["format"] != FORMAT:
            raise ValueError(f"format {found['format']!r}")
        if changed := [name for name in header if found[name] != header[name]]:
            raise ConfigError(f"{path}: holds samples of another run (other {', '.join(changed)}); {remedy}")
        for number, line in enumerate(lines[1:]):
            entry = json.loads(line)
            if (
                entry["batch"] != number
                or [len(texts) for texts in entry["responses"]] != [header["n"]] * sizes[number]
            ):
                raise ValueError(f"line {number + 2} is not batch {number}")
            batches.append(entry["responses"])
    except ConfigError:
        raise
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ShardError(f"{path}: damaged samples: {error!r}; {remedy}") from error
    if whole < len(content):
        os.truncate(path, whole)
    return batches


def _append(file: IO[bytes], entry: dict[str, Any]) -> None:
    file.write(json.dumps(entry, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
    file.flush()
    if file.name != os.devnull:
        os.fsync(file.fileno())
