"""Built-in targets: a local model, a server with OpenAI's protocol, or a function by name."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from seampack.errors import ConfigError, DataError
from seampack.models.functions import function_of
from seampack.models.refine.config import RefineConfig
from seampack.models.refine.generation import chat, generate, ids_of
from seampack.models.refine.scoring import Target
from seampack.models.training import import_extra, load_causal


def target_of(config: RefineConfig) -> Target:
    """Return the target that ``config.target`` names. Raise ConfigError or DataError if it cannot be loaded."""
    if config.target.startswith(("http://", "https://")):
        return HttpTarget(config)
    # MODULE:FUNCTION, not an address or a path
    if ":" in config.target and "/" not in config.target and not Path(config.target).exists():
        return function_of(config.target)
    return ModelTarget.load(config)


class ModelTarget:
    """A causal language model that answers greedily, with at most ``target_tokens`` tokens."""

    def __init__(self, config: RefineConfig, model: Any, tokenizer: Any) -> None:
        self.config = config
        self.model = model
        self.tokenizer = tokenizer

    @classmethod
    def load(cls, config: RefineConfig) -> "ModelTarget":
        """Load ``config.target`` from a folder or the hub. Raise DataError if it cannot be loaded."""
        return cls(config, *load_causal(config.target))

    def __call__(self, queries: Sequence[str]) -> list[str]:
        """Return one answer for each query."""
        prompts = [ids_of(self.tokenizer, chat(self.tokenizer, query)) for query in queries]
        return generate(self.model, self.tokenizer, prompts, self.config.target_tokens, self.config.batch_rows)


class HttpTarget:
    """A chat model at ``POST TARGET/chat/completions``, as served by OpenAI, vLLM, llama.cpp and Ollama.

    Failed connections, time-outs, and the statuses 408, 409, 429 and 5xx are retried ``target_retries`` times, with
    increasing pauses. The key is read from the environment variable ``target_key`` and is not written to configs or
    artifacts; if the variable is not set, the key is the word ``none``, for servers that need no key.
    """

    def __init__(self, config: RefineConfig, *, parallel: int = 4) -> None:
        """Prepare the client for ``parallel`` concurrent requests. Raise MissingExtraError if openai is missing."""
        self._openai = import_extra("openai", f"the target {config.target}")
        self.config = config
        self.parallel = parallel
        self._client = self._openai.OpenAI(
            base_url=config.target,
            api_key=os.environ.get(config.target_key) or "none",
            timeout=config.target_timeout,
            max_retries=config.target_retries,
        )

    def __call__(self, queries: Sequence[str]) -> list[str]:
        """Return one answer per query.

        Raises ConfigError if the server rejects the key, the model or the request, DataError if it does not answer.
        """
        with ThreadPoolExecutor(self.parallel) as pool:
            return list(pool.map(self._ask, queries))

    def _ask(self, query: str) -> str:
        """Return the answer to a query."""
        url, retries = self.config.target, self.config.target_retries
        try:
            completion = self._client.chat.completions.create(
                model=self.config.target_model,
                messages=[{"role": "user", "content": query}],
                max_tokens=self.config.target_tokens,
                temperature=0,
            )
            return completion.choices[0].message.content or ""
        except self._openai.APITimeoutError as error:
            raise DataError(f"{url}: no answer in time, after {retries} retries; raise target_timeout") from error
        except self._openai.APIConnectionError as error:
            raise DataError(f"{url}: no connection: {error.__cause__ or error}; is the server running?") from error
        except self._openai.APIStatusError as error:
            reason = " ".join(error.response.text.split())[:200]
            message = f"{url}: status {error.status_code} for the model {self.config.target_model!r}: {reason}"
            if error.status_code < 500 and error.status_code not in (408, 409, 429):
                raise ConfigError(f"{message}; check the address, the model's name and the key") from error
            raise DataError(f"{message}; after {retries} retries") from error
        except (self._openai.OpenAIError, ValueError, AttributeError, IndexError, TypeError) as error:
            raise DataError(f"{url}: the answer is not a chat completion: {error}") from error
