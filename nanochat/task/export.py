"""`task=export`: a trained model as a folder that `transformers` loads, with the same logits."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from nanochat.model.export import convert
from nanochat.run.exported import check_free, write
from nanochat.run.folder import RunFolder, identify
from nanochat.run.spec import RunSpec, Settings
from nanochat.run.trained import load_trained
from nanochat.task.base import TaskSpec
from nanochat.tokenizer.pretrained import CONFIG, pretrained_files


class ExportSpec(TaskSpec):
    """Write a model's weights, config and tokenizer in the format of `transformers`, and check what was written.

    run: key of the run; null: the run that the rest of the command line describes · folder: where to; it must be
    new, empty, or an earlier export of the same run. A model that no architecture of `transformers` is equal to is
    refused with every reason.
    """

    run: str | None
    folder: str

    def perform(self, run: RunSpec, *, settings: Settings) -> int:
        key = self.run or identify(run, cache=settings.paths.cache)
        folder = Path(self.folder).expanduser().absolute()
        check_free(folder, key=key)
        trained = load_trained(RunFolder(settings.paths.runs / key), settings=settings)
        checkpoint = convert(trained.model, trained.spec.architecture, bos=trained.tokenizer.bos)
        files = pretrained_files(trained.spec.tokenizer, trained.tokenizer)
        difference = write(folder, checkpoint, key=key, model=trained.model, tokenizer=files)
        show(key, folder, architecture=checkpoint.architecture, tokenizer=list(files), difference=difference)
        return 0


def show(key: str, folder: Path, *, architecture: str, tokenizer: list[str], difference: float | None) -> None:
    """What was written, whether it was checked, and how to load it."""
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(f"run {key} is {architecture} in {folder}")
    if difference is None:
        console.print("not checked: transformers is not installed here")
    else:
        console.print(f"checked: largest difference of a logit {difference:.1g}")
    if CONFIG in tokenizer:
        console.print("tokenizer: AutoTokenizer loads it from the same folder")
    elif tokenizer:
        console.print(f"tokenizer: only as {', '.join(tokenizer)}, which AutoTokenizer does not read")
    else:
        console.print("tokenizer: not written")
    console.print("to load it:")
    console.print("from transformers import AutoModelForCausalLM")
    console.print(f"model = AutoModelForCausalLM.from_pretrained({str(folder)!r})")
