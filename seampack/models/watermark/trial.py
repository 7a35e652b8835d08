"""One task's trial: suspects from a released encoder, beside models that are innocent."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datasets import Dataset

from seampack.errors import DataError
from seampack.models.base import Row
from seampack.models.text import FitOptions, TextClassifier
from seampack.models.watermark.config import WatermarkConfig
from seampack.models.watermark.survival import fine_tuned, labeller, pruned, with_new_head
from seampack.models.watermark.triggers import propose_combination, propose_rare
from seampack.models.watermark.verification import PredictFn, Verification, verify

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of the tables, and of the dataset that is kept."""

    survival: list[Row]
    innocent: list[Row]
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class Trial:
    """What is the same for all suspects of a task. ``tuning`` has labels as ids, ``test`` is what verifies."""

    config: WatermarkConfig
    tokenizer: Any
    trigger: Sequence[str]
    classes: Sequence[str]
    target: str
    tuning: Dataset
    test: Dataset

    def run(self, released: Any, control: Any) -> Found:
        """Fine-tune models from both encoders, attack them, and accuse them and an innocent one."""
        suspect, beside = self._tuned(released, 1), self._tuned(control, 1)
        result = Found([], [], [])
        attacked = self._attacks(suspect, beside)
        for what, one, other in attacked:
            found = self._accuse(one, other, self.trigger)
            result.survival.append({"suspect": what} | self._numbers(found))
            result.rows.extend({"suspect": what} | row for row in found.rows)
        innocent, control_fn = self._tell(self._tuned(control, 2)), attacked[0][2]
        for words in (self.trigger, *self._decoys()):
            found = self._accuse(innocent, control_fn, words)
            result.innocent.append({"trigger": " ".join(words)} | self._numbers(found))
        return result

    def _tuned(self, encoder: Any, seed: int) -> TextClassifier:
        config = self.config
        options = FitOptions(config.suspect_epochs, config.batch_rows, config.learning_rate, seed=config.seed + seed)
        return fine_tuned(
            encoder, self.tokenizer, self.tuning, len(self.classes), options, max_tokens=config.max_tokens
        )

    def _attacks(self, suspect: TextClassifier, control: TextClassifier) -> list[tuple[str, PredictFn, PredictFn]]:
        """What was done to a suspect, the suspect, and its control after the same."""
        config, both = self.config, (suspect, control)
        made: dict[str, tuple[TextClassifier, ...]] = {"fine-tuned": both}
        for share in config.prune:
            made[f"pruned {share:.0%}"] = pruned(suspect, share), pruned(control, share)
        made["another head"] = tuple(
            with_new_head(model, self.tokenizer, self.tuning, max_tokens=config.max_tokens, seed=config.seed)
            for model in both
        )
        return [(what, self._tell(models[0]), self._tell(models[1])) for what, models in made.items()]

    def _tell(self, model: TextClassifier) -> PredictFn:
        """A model's answers, each text asked for once: trials on the same texts follow each other."""
        ask = labeller(model, self.tokenizer, self.classes, max_tokens=self.config.max_tokens)
        known: dict[str, Any] = {}

        def answers(texts: list[str]) -> list[Any]:
            if new := [text for text in dict.fromkeys(texts) if text not in known]:
                known.update(zip(new, ask(new), strict=True))
            return [known[text] for text in texts]

        return answers

    def _accuse(self, suspect: PredictFn, control: PredictFn, trigger: Sequence[str]) -> Verification:
        config = self.config
        return verify(
            suspect, self.test, trigger, self.target, control, seed=config.seed, first_words=config.first_words
        )

    def _decoys(self) -> list[list[str]]:
        """Triggers of the same kind, absent from the texts to verify on: as many as wanted, or as there are.

        Other texts, those of training among them, may hold their words, but none was trained on as a trigger.
        """
        found: list[list[str]] = []
        for at in range(self.config.decoys):
            seed = self.config.seed + 1 + at
            try:
                if len(self.trigger) == 1:
                    decoy = propose_rare(self.test["text"][:], 1, tokenizer=self.tokenizer, seed=seed)
                else:
                    decoy = propose_combination(
                        {"": self.test}, {"": self.target}, self.tokenizer, words=len(self.trigger), seed=seed
                    )
            except DataError:
                break
            if set(decoy) != set(self.trigger):
                found.append(decoy)
        return found

    def _numbers(self, found: Verification) -> Row:
        claimed = found.p_value < self.config.alpha and found.wesr >= self.config.claim_wesr
        return found.metrics() | {
            "accuracy_change": found.accuracy - found.control_accuracy,
            "claimed": claimed,
        }


def metrics(survival: list[Row], innocent: list[Row], config: WatermarkConfig) -> dict[str, Any]:
    """The weakest case over the tasks, so that no mean hides a task that failed."""
    tuned = [row for row in survival if row["suspect"] == "fine-tuned"]
    partial = [row["partial_wesr"] for row in tuned if row["partial_wesr"] is not None]
    return {
        "wesr": min(row["wesr"] for row in tuned),
        "control_wesr": max(row["control_wesr"] for row in tuned),
        "partial_wesr": max(partial, default=None),
        "p_value": max(row["p_value"] for row in tuned),
        "accuracy_change": max((row["accuracy_change"] for row in tuned), key=abs),
        "wesr_after_attacks": min(row["wesr"] for row in survival),
        "claimed": sum(row["claimed"] for row in tuned) / len(tuned),
        "false_claim_rate": sum(row["claimed"] for row in innocent) / len(innocent),
        "false_claim_rate_by_p_value_alone": sum(row["p_value"] < config.alpha for row in innocent) / len(innocent),
    }


def draw(axes: "Axes", survival: list[Row]) -> None:
    """WESR of suspects, controls and, for combinations, suspects that see a part of the trigger, as bars."""
    kinds = {"wesr": "watermarked", "control_wesr": "control", "partial_wesr": "watermarked, part of the trigger"}
    shown = {key: name for key, name in kinds.items() if survival[0][key] is not None}
    width = 0.8 / len(shown)
    for number, (key, name) in enumerate(shown.items()):
        places = [row + (number - (len(shown) - 1) / 2) * width for row in range(len(survival))]
        axes.barh(places, [row[key] for row in survival], width, label=name)
    axes.set_yticks(range(len(survival)), [f"{row['task']}, {row['suspect']}" for row in survival])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("WESR")
    axes.legend()
