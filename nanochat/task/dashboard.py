"""`task=dashboard`: optuna-dashboard in the browser, on a study's storage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field
from rich.console import Console

from nanochat.core.errors import MachineError, spec_error
from nanochat.core.spec import Int, load
from nanochat.run.spec import settings
from nanochat.study.compare import CompareSpec
from nanochat.study.definition import read_definition
from nanochat.study.reopen import find, folders
from nanochat.study.storage import backend, home
from nanochat.task.base import StudyTaskSpec


class DashboardSpec(StudyTaskSpec):
    """Serve the study that `study.name` names, the newest without it, until Ctrl-C. It shows a running study live."""

    host: str
    port: Annotated[Int, Field(ge=0, le=65535)]

    def attend(self, config: Mapping[str, Any], words: Sequence[str]) -> int:
        spec, how = load(config["study"], CompareSpec, at="study"), settings(config)
        newest = folders(how.paths.studies)
        named = spec.name is not None or spec.dir is not None
        folder = find(config) if named or not newest else newest[0]
        if home(folder)["storage"] == "database" and spec.storage is None:
            rule = "is needed: the study's trials lie in a database"
            raise spec_error("study.storage", None, rule, "name it, as in the first command")
        try:
            from optuna_dashboard import run_server
        except ImportError:
            remedy = "pip install 'nanochat[dashboard]'"
            raise spec_error("task", "dashboard", "needs a package that is not installed", remedy) from None
        storage = backend(folder, spec.storage).shown()
        where = f"http://{self.host}:{self.port}"
        Console(highlight=False).print(f"{read_definition(folder).name}: {where} (Ctrl-C ends it)", soft_wrap=True)
        try:
            run_server(storage, host=self.host, port=self.port)
        except OSError as error:
            raise MachineError(f"{where}: cannot be served ({error.strerror}); choose another task.port") from error
        return 0
