"""Targets that come ready: a model of transformers, an endpoint that speaks OpenAI's protocol, a function by name."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from seampack.errors import ConfigError, DataError, MissingExtraError
from seampack.models.refine.refiner import generate, ids_of, load_causal
from seampack.models.refine.rewards import chat


class ModelTarget:
    """A causal language model that answers greedily."""

    def __init__(self, model: Any, tokenizer: Any, *, max_new_tokens: int = 128, batch_rows: int = 16) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.max_new_tokens = max_new_tokens
        self.batch_rows = batch_rows

    @classmethod
    def load(cls, source: str, *, max_new_tokens: int = 128, batch_rows: int = 16) -> "ModelTarget":
        """From a folder or by a name of the hub. Raises DataError for what cannot be loaded."""
        return cls(*load_causal(source), max_new_tokens=max_new_tokens, batch_rows=batch_rows)

    def __call__(self, queries: Sequence[str]) -> list[str]:
        """One answer for each query."""
        prompts = [ids_of(self.tokenizer, chat(self.tokenizer, query)) for query in queries]
        return generate(self.model, self.tokenizer, prompts, self.max_new_tokens, self.batch_rows)


class HttpTarget:
    """A chat model behind HTTP, at ``POST URL/chat/completions``, as OpenAI, vLLM, llama.cpp and Ollama serve it.

    Failed connections, time-outs, and answers 408, 409, 429 and 5xx are tried again ``retries`` times, after longer
    and longer pauses. The key is read from an environment variable, and kept out of configs and artifacts; servers
    that want none get the word ``none``.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key_variable: str = "OPENAI_API_KEY",
        max_new_tokens: int = 128,
        timeout_seconds: float = 60.0,
        retries: int = 3,
        parallel: int = 4,
    ) -> None:
        try:
            import openai
        except ModuleNotFoundError as error:
            raise MissingExtraError("openai", "models", f"the target {url}") from error
        self.url = url
        self.model = model
        self.max_new_tokens = max_new_tokens
        self.retries = retries
        self.parallel = parallel
        self._openai = openai
        self._client = openai.OpenAI(
            base_url=url,
            api_key=os.environ.get(key_variable) or "none",
            timeout=timeout_seconds,
            max_retries=retries,
        )

    def __call__(self, queries: Sequence[str]) -> list[str]:
        """One answer for each query, several asked at a time.

        Raises ConfigError where the server refuses the key, the model or the request, DataError where no answer comes.
        """
        with ThreadPoolExecutor(self.parallel) as pool:
            return list(pool.map(self._ask, queries))

    def _ask(self, query: str) -> str:
        try:
            found = self._client.chat.completions.create(
                model=self.model,
                messages=[{"role": "user", "content": query}],
                max_tokens=self.max_new_tokens,
                temperature=0,
            )
            return found.choices[0].message.content or ""
        except self._openai.APITimeoutError as error:
            raise DataError(
                f"{self.url}: no answer in time, {self.retries} times tried again; is it overloaded?"
            ) from error
        except self._openai.APIConnectionError as error:
            raise DataError(f"{self.url}: no connection: {error.__cause__ or error}; does the server run?") from error
        except self._openai.APIStatusError as error:
            said = " ".join(error.response.text.split())[:200]
            message = f"{self.url}: status {error.status_code} for the model {self.model!r}: {said}"
            if error.status_code < 500 and error.status_code not in (408, 409, 429):
                raise ConfigError(f"{message}; check the address, the model's name and the key") from error
            raise DataError(f"{message}; {self.retries} times tried again") from error
        except (self._openai.OpenAIError, ValueError, AttributeError, IndexError, TypeError) as error:
            raise DataError(f"{self.url}: not an answer of a chat model: {error}") from error


def is_function(name: str) -> bool:
    """Whether a name is MODULE:FUNCTION, and no address or path."""
    return ":" in name and "/" not in name and not Path(name).exists()
