"""What a report needs of runs beyond their numbers: where they come from, what they are, what their models write."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nanochat.core.artifact import read_json
from nanochat.core.progress import track
from nanochat.eval.generation import diversity
from nanochat.run.folder import RunFolder
from nanochat.run.spec import Settings
from nanochat.run.trained import Trained, load_trained
from nanochat.study.dead import dead_knobs
from nanochat.study.definition import Definition
from nanochat.study.design import alone, families

SCHEMA = 2

# The runs that an arm is judged by: its confirming seeds, or the points of its law.
CONFIRMING = ("seed", "point")

# Of each arm so many confirming runs write: one greedy text, and some that are drawn.
WRITING_RUNS, DRAWN_TEXTS, TEXT_TOKENS, TEMPERATURE = 3, 4, 200, 0.8


def evidence(
    definition: Definition,
    rows: Sequence[Mapping[str, Any]],
    *,
    settings: Settings,
    total: int | None,
    known: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """As plain data. total: runs that the study has when it is done, None if unknown · known: an earlier evidence,
    whose samples are kept, as models write the same each time."""
    runs = settings.paths.runs
    complete = [row for row in rows if row["status"] == "complete" and row["key"]]
    confirming = [row for row in complete if row["phase"] in CONFIRMING]
    folders = {row["key"]: RunFolder(runs / row["key"]) for row in confirming}
    there = {key: folder for key, folder in folders.items() if folder.result() and folder.description()}
    return {
        "schema": SCHEMA,
        "finished": len(rows),
        "total": total,
        "missing": sorted(set(folders) - set(there)),
        "origins": origins(there),
        "texts": texts(there),
        "arms": {arm.name: _arm(arm.name, confirming, there) for arm in definition.arms},
        "samples": samples(definition, confirming, settings=settings, there=there, known=known or {}),
        "dead": [str(knob) for knob in dead_knobs(rows, runs=runs)],
    }


def origins(folders: Mapping[str, RunFolder]) -> list[dict[str, Any]]:
    """The provenance of the confirming runs, each different one once, with how many have it."""
    found: list[dict[str, Any]] = []
    for folder in folders.values():
        description = folder.description() or {}
        about = {key: value for key, value in description["provenance"].items() if key != "command"}
        about["trainer"] = description["run"]["trainer"]
        same = next((other for other in found if {**other, "runs": 0} == {**about, "runs": 0}), None)
        if same is None:
            found.append({**about, "runs": 1})
        else:
            same["runs"] += 1
    return found


def texts(folders: Mapping[str, RunFolder]) -> list[dict[str, Any]]:
    """The corpora that the confirming runs read, by fingerprint, with the runs of each."""
    found: dict[str, dict[str, Any]] = {}
    keys: dict[str, list[str]] = defaultdict(list)
    for key, folder in folders.items():
        corpus = (folder.result() or {})["corpus"]
        found.setdefault(corpus["fingerprint"], corpus)
        keys[corpus["fingerprint"]].append(key)
    return [{**corpus, "keys": keys[fingerprint]} for fingerprint, corpus in found.items()]


def samples(
    definition: Definition,
    rows: Sequence[Mapping[str, Any]],
    *,
    settings: Settings,
    there: Mapping[str, RunFolder],
    known: Mapping[str, Any],
) -> dict[str, Any]:
    """What each arm's models write, by key: texts of its first runs. A run whose model is gone writes nothing new."""
    before, wanted = known.get("samples", {}), []
    readable = {key for key, folder in there.items() if folder.model_file.exists()} | set(before)
    for name, own in _writers(definition, [row for row in rows if row["key"] in readable]):
        wanted += [(name, row["key"]) for row in own]
    found: dict[str, Any] = {}
    for arm, key in track(wanted, total=len(wanted), label="reading what the models write"):
        found[key] = before.get(key) or {"arm": arm, **written(load_trained(there[key], settings=settings))}
    return found


def _writers(
    definition: Definition, rows: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, Sequence[Mapping[str, Any]]]]:
    """The runs that write for each arm: its first ones, or, of the many points of a law, the best."""
    if definition.design is None:
        for arm in definition.arms:
            yield arm.name, [row for row in rows if row["arm"] == arm.name][:WRITING_RUNS]
        return
    for name in families(definition.design):
        own = [row for row in rows if alone(row["arm"]) == name]
        yield name, sorted(own, key=lambda row: (row["test_bpb"], row["key"]))[:1]


def written(trained: Trained) -> dict[str, Any]:
    """One greedy text from the beginning of a text, some drawn at a temperature, and their diversity."""
    draw = {"tokens": TEXT_TOKENS, "top_k": None}
    greedy = [trained.sample("", temperature=0.0, seed=0, **draw)]
    drawn = [trained.sample("", temperature=TEMPERATURE, seed=seed, **draw) for seed in range(DRAWN_TEXTS)]
    return {
        "greedy": {"texts": greedy, **diversity(greedy)},
        "drawn": {"texts": drawn, **diversity(drawn), "temperature": TEMPERATURE},
    }


def _arm(name: str, rows: Sequence[Mapping[str, Any]], there: Mapping[str, RunFolder]) -> dict[str, Any] | None:
    """What an arm's first confirming run is, resolved, and what it can be held against; None where there is none."""
    folder = next((there[row["key"]] for row in rows if row["arm"] == name and row["key"] in there), None)
    if folder is None:
        return None
    result = folder.result() or {}
    kept = ("reference", "coverage", "non_embedding_params", "peak_memory_mib")
    return {"run": (folder.description() or {})["run"], **{key: result[key] for key in kept}}


def earlier(path: Any) -> dict[str, Any]:
    """The evidence in a file, {} where there is none that this version wrote."""
    data = read_json(path) if path.exists() else {}
    return data if data.get("schema") == SCHEMA else {}
