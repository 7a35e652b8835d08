"""Sampling of several responses per prompt; they are saved as they are drawn, so that a run can resume."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import torch
import xxhash

from seampack.errors import ConfigError, DataError, ShardError
from seampack.models.curriculum.answers import Checker
from seampack.models.curriculum.config import CurriculumConfig
from seampack.models.curriculum.prompts import PromptFormat
from seampack.models.progress import progress
from seampack.models.training import end_tokens, quiet

Sampler = Callable[[list[str], int], list[list[str]]]
"""Takes prompts and n, returns n responses per prompt. An optional attribute ``label`` identifies the model."""

FORMAT = "seampack samples 1"


@dataclass(frozen=True)
class TransformersSampler:
    """Samples from a causal language model of transformers, by ``temperature`` and ``max_new_tokens``.

    The random numbers depend only on ``seed``, n and the prompts: the same call gives the same responses, independent
    of earlier calls. ``greedy`` takes the likeliest token instead of a sample. At most ``batch_responses`` responses
    are generated at once.
    """

    config: CurriculumConfig
    model: Any
    tokenizer: Any
    greedy: bool = False

    def __call__(self, prompts: list[str], n: int) -> list[list[str]]:
        """Return n responses for each prompt, without special tokens."""
        responses: list[list[str]] = [[] for _ in prompts]
        order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
        step = max(1, self.config.batch_responses // n)
        was_training = self.model.training
        self.model.eval()
        for start in range(0, len(prompts), step):
            indices = order[start : start + step]
            batch = [prompts[index] for index in indices]
            # all n greedy responses are the same
            texts = (
                [text for text in self._generate(batch, 1) for _ in range(n)]
                if self.greedy
                else self._generate(batch, n)
            )
            for position, index in enumerate(indices):
                responses[index] = texts[position * n : (position + 1) * n]
        self.model.train(was_training)
        return responses

    @cached_property
    def label(self) -> str:
        """Hash of a sample of each weight tensor, with the sampling options."""
        digest = xxhash.xxh3_128()
        for name, values in self.model.named_parameters():
            flat = values.detach().flatten()
            digest.update(name.encode())
            digest.update(flat[:: max(1, flat.numel() // 256)].float().cpu().numpy().tobytes())
        temperature = 0 if self.greedy else self.config.temperature
        return f"{digest.hexdigest()} T={temperature:g} tokens={self.config.max_new_tokens} seed={self.config.seed}"

    def _generate(self, prompts: list[str], n: int) -> list[str]:
        device = next(self.model.parameters()).device
        batch = self.tokenizer(
            prompts, return_tensors="pt", padding=True, padding_side="left", return_token_type_ids=False
        ).to(device)
        sampled = {"do_sample": True, "temperature": self.config.temperature, "top_k": 0, "top_p": 1.0}
        seed = xxhash.xxh3_64_intdigest(json.dumps([self.config.seed, n, prompts]).encode()) >> 1
        with torch.inference_mode(), torch.random.fork_rng(), quiet():
            torch.manual_seed(seed)
            out = self.model.generate(
                **batch,
                **({"do_sample": False} if self.greedy else sampled),
                num_return_sequences=n,
                max_new_tokens=self.config.max_new_tokens,
                pad_token_id=self.tokenizer.pad_token_id,
                eos_token_id=end_tokens(self.model, self.tokenizer),
            )
        texts: list[str] = self.tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
        return texts


class Examiner:
    """Base of the steps that sample responses to prompts and check them.

    ``correct`` and ``prompt`` default to the config's checker and templates.
    """

    def __init__(
        self,
        config: CurriculumConfig,
        sample: Sampler,
        *,
        correct: Checker | None = None,
        prompt: PromptFormat | None = None,
    ) -> None:
        self.config = config
        self.sample = sample
        self.correct = correct or config.correct
        self.prompt = prompt or PromptFormat(config)

    def responses(self, prompts: Sequence[str], name: str) -> list[list[str]]:
        """Return ``n_samples`` responses for each prompt; ``name`` names the checkpoint and the progress bar."""
        return sample_all(
            self.sample,
            prompts,
            self.config.n_samples,
            batch_rows=self.config.batch_prompts,
            checkpoint=self.config.checkpoint_file(name),
            title=name,
        )


def sample_all(
    sample: Sampler,
    prompts: Sequence[str],
    n: int,
    *,
    batch_rows: int = 64,
    checkpoint: Path | None = None,
    title: str = "sampling",
) -> list[list[str]]:
    """Return n responses for each prompt, sampled in batches, with a progress bar on a terminal.

    Args:
        sample: The sampler.
        prompts: The prompts.
        n: Responses for each prompt.
        batch_rows: Prompts for each call of the sampler.
        checkpoint: File (JSON lines) to which each complete batch is appended; a batch in the file is not sampled
            again. None: no file.
        title: Title of the progress bar.

    Raises:
        ConfigError: The file holds samples of other prompts or of another sampler.
        ShardError: The file is damaged.
        DataError: The sampler returned a wrong number of responses.
    """
    batches = [list(prompts[start : start + batch_rows]) for start in range(0, len(prompts), batch_rows)]
    header = {
        "format": FORMAT,
        "prompts": xxhash.xxh3_128_hexdigest(json.dumps(list(prompts)).encode()),
        "rows": len(prompts),
        "n": n,
        "batch_rows": batch_rows,
        "label": str(getattr(sample, "label", "")),
    }
    done = [] if checkpoint is None else _resume(checkpoint, header, [len(batch) for batch in batches])
    shown = progress(title, len(prompts), "prompt")
    with shown as advance, checkpoint.open("ab") if checkpoint else open(os.devnull, "wb") as file:
        advance(sum(map(len, done)))
        for number in range(len(done), len(batches)):
            responses = [list(map(str, texts)) for texts in sample(batches[number], n)]
            if [len(texts) for texts in responses] != [n] * len(batches[number]):
                counts = sorted({len(texts) for texts in responses})
                raise DataError(
                    f"the sampler returned {len(responses)} lists of {counts} responses; "
                    f"expected {len(batches[number])} lists of {n}"
                )
            _append(file, {"batch": number, "responses": responses})
            done.append(responses)
            advance(len(responses))
    return [texts for batch in done for texts in batch]


def _resume(path: Path, header: dict[str, Any], sizes: list[int]) -> list[list[list[str]]]:
    """Return the batches in a file; drop an incomplete last line. A missing file is created with the header."""
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
        written = json.loads(lines[0])
        if written["format"] != FORMAT:
            raise ValueError(f"format {written['format']!r}")
        if changed := [name for name in header if written[name] != header[name]]:
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
    """Write one line of JSON to the file and flush it to disk."""
    file.write(json.dumps(entry, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n")
    file.flush()
    if file.name != os.devnull:
        os.fsync(file.fileno())
