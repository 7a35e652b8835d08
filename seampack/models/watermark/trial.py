"""The trial of one task: suspects derived from a released encoder, and innocent models."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from datasets import Dataset

from seampack.errors import DataError
from seampack.models.base import Row
from seampack.models.notes import at_chance
from seampack.models.text import TextClassifier
from seampack.models.watermark.config import WatermarkConfig
from seampack.models.watermark.survival import fine_tuned, labeller, pruned, with_new_head
from seampack.models.watermark.triggers import propose_combination, propose_rare
from seampack.models.watermark.verification import PredictFn, Verification, least_texts, verify

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Rows of the tables ``survival`` and ``innocent``, and of the evaluation's dataset."""

    survival: list[Row]
    innocent: list[Row]
    rows: list[Row]
    notes: list[str]


@dataclass(frozen=True, slots=True)
class Trial:
    """Data and options shared by a task's suspects: ``tuning`` (labels as ids) fine-tunes, ``test`` verifies them."""

    task: str
    config: WatermarkConfig
    tokenizer: Any
    trigger: Sequence[str]
    classes: Sequence[str]
    target: str
    tuning: Dataset
    test: Dataset

    def run(self, released: Any, control: Any) -> Verdicts:
        """Train models from both encoders, attack them, and verify these models and an innocent model."""
        verdicts = Verdicts([], [], [], [])
        attacked = self._attacks(self._tuned(released, 1), self._tuned(control, 1))
        for attack, suspect_fn, control_fn in attacked:
            verification = self._verify(suspect_fn, control_fn, self.trigger)
            verdicts.survival.append({"suspect": attack} | self._numbers(verification))
            verdicts.rows.extend({"suspect": attack} | row for row in verification.rows)
        verdicts.notes.extend(self._notes(verdicts.survival[0]))
        innocent_fn, control_fn = self._predict_fn(self._tuned(control, 2)), attacked[0][2]
        for words in (self.trigger, *self._decoys()):
            verification = self._verify(innocent_fn, control_fn, words)
            verdicts.innocent.append({"trigger": " ".join(words)} | self._numbers(verification))
        return verdicts

    def _tuned(self, encoder: Any, seed_offset: int) -> TextClassifier:
        return fine_tuned(encoder, self.tokenizer, self.tuning, len(self.classes), self.config, seed_offset)

    def _attacks(self, suspect: TextClassifier, control: TextClassifier) -> list[tuple[str, PredictFn, PredictFn]]:
        """Return the name of each attack, with the suspect and its control after the attack."""
        models = {"fine-tuned": (suspect, control)}
        for share in self.config.prune:
            models[f"pruned {share:.0%}"] = pruned(suspect, share), pruned(control, share)
        heads = [with_new_head(model, self.tokenizer, self.tuning, self.config) for model in (suspect, control)]
        models["another head"] = heads[0], heads[1]
        return [(attack, self._predict_fn(pair[0]), self._predict_fn(pair[1])) for attack, pair in models.items()]

    def _predict_fn(self, model: TextClassifier) -> PredictFn:
        """Return a function with a model's answers, cached by text: several verifications use the same texts."""
        label = labeller(model, self.tokenizer, self.classes, self.config)
        cache: dict[str, Any] = {}

        def answers(texts: list[str]) -> list[Any]:
            if new := [text for text in dict.fromkeys(texts) if text not in cache]:
                cache.update(zip(new, label(new), strict=True))
            return [cache[text] for text in texts]

        return answers

    def _verify(self, suspect: PredictFn, control: PredictFn, trigger: Sequence[str]) -> Verification:
        return verify(suspect, self.test, trigger, self.target, control, self.config)

    def _notes(self, tuned: Row) -> list[str]:
        """Return the notes: the fine-tuned suspect or its control guesses, there are too few texts for a claim."""
        labels = list(self.test["label"])
        remedy = "raise suspect_epochs, use more rows or a stronger encoder"
        notes = [
            note
            for who, key in (("the fine-tuned suspect", "accuracy"), ("its control", "control_accuracy"))
            for note in at_chance(f"task {self.task}: {who}", tuned[key], labels, remedy)
        ]
        if tuned["texts"] < (least := least_texts(self.config.alpha)):
            notes.append(
                f"task {self.task}: only {tuned['texts']:,} texts verify, so no p-value can be below alpha "
                f"{self.config.alpha:g}; use more rows: at least {least:,} texts of other labels than the target"
            )
        return notes

    def _decoys(self) -> list[list[str]]:
        """Draw up to ``decoys`` triggers of the same kind that are absent from the texts used to verify.

        Other texts, also in training, may contain the words of a decoy, but no model learned a decoy as a trigger.
        """
        decoys: list[list[str]] = []
        for seed in range(self.config.seed + 1, self.config.seed + 1 + self.config.decoys):
            try:
                if len(self.trigger) == 1:
                    decoy = propose_rare(self.test["text"][:], seed=seed, tokenizer=self.tokenizer)
                else:
                    decoy = propose_combination(
                        {"": self.test}, {"": self.target}, self.tokenizer, words=len(self.trigger), seed=seed
                    )
            except DataError:
                break
            if set(decoy) != set(self.trigger):
                decoys.append(decoy)
        return decoys

    def _numbers(self, verification: Verification) -> Row:
        claimed = verification.p_value < self.config.alpha and verification.wesr >= self.config.claim_wesr
        return verification.metrics() | {
            "accuracy_change": verification.accuracy - verification.control_accuracy,
            "claimed": claimed,
        }


def metrics(survival: list[Row], innocent: list[Row], config: WatermarkConfig) -> dict[str, Any]:
    """Summarise the trials by the worst case over the tasks, so that no mean hides a failed task."""
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
    """Draw the WESR of suspects, of controls and, for combinations, of suspects with part of the trigger, as bars."""
    kinds = {"wesr": "watermarked", "control_wesr": "control", "partial_wesr": "watermarked, part of the trigger"}
    shown = {key: name for key, name in kinds.items() if survival[0][key] is not None}
    width = 0.8 / len(shown)
    for number, (key, name) in enumerate(shown.items()):
        heights = [row + (number - (len(shown) - 1) / 2) * width for row in range(len(survival))]
        axes.barh(heights, [row[key] for row in survival], width, label=name)
    axes.set_yticks(range(len(survival)), [f"{row['task']}, {row['suspect']}" for row in survival])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("WESR")
    axes.legend()
