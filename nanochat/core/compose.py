"""Composition: from overrides to plain data. Beside `run.py` and the sweeper plugin, the only code that knows Hydra."""

from __future__ import annotations

import contextlib
import copy
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from nanochat.core.errors import Problem, SpecError, alternatives, nearest, spec_error

CONF = Path(__file__).resolve().parents[2] / "conf"

_MISSING = object()


@dataclass(frozen=True)
class Values:
    """`a,b,c` or `range(1,4)`: override values, all of which are run."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class Interval:
    """`interval(low, high)`, `tag(log, interval(…))`, `int(interval(…))`: a range to search, both ends included."""

    low: float
    high: float
    log: bool
    integer: bool


@dataclass(frozen=True)
class Choice:
    """`choice(a, b)`: categories to search."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class Override:
    """One command-line override: its key (with its package), its text as typed, and its sweep (None: a fixed value)."""

    key: str
    text: str
    sweep: Values | Interval | Choice | None


def compose(overrides: Sequence[str], *, conf: Path = CONF) -> dict[str, Any]:
    """The application's whole config for `overrides`, resolved, as plain dicts, lists and scalars.

    Raises `SpecError` naming the key, and the nearest that exists, for an override that does not fit.
    """
    refuse_nameless(overrides, conf)
    with _hydra(conf) as hydra_compose:
        return plain(hydra_compose("config", overrides=list(overrides)))


@contextlib.contextmanager
def _hydra(conf: Path) -> Iterator[Any]:
    """Hydra's `compose` on a config folder; its errors are explained."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra

    outer = GlobalHydra.instance().hydra  # of a program that is running, and goes on with it afterwards
    GlobalHydra.instance().clear()
    try:
        with explained(), initialize_config_dir(str(conf), version_base="1.3"):
            yield hydra_compose
    finally:
        GlobalHydra.instance().hydra = outer


# An override that sets a key inside a section (`lr.peak=…`), and so chooses no option.
_PLAIN = re.compile(r"^(?!hydra\.)[A-Za-z_]\w*(\.\w+)+=")


def compose_variant(overrides: Sequence[str], values: Sequence[str]) -> dict[str, Any]:
    """`compose([*overrides, *values])`, where `values` set keys that are there and choose no options of groups.

    What the overrides that choose options come to is composed once and kept: Hydra takes a tenth of a second for it,
    which the arms and trials of a study would pay one after the other. Raises `SpecError` as `compose` does.
    """
    from omegaconf import OmegaConf

    setting = [text for text in overrides if _PLAIN.match(text)]
    config = copy.deepcopy(_composed(tuple(text for text in overrides if text not in setting)))
    with explained():
        for override in _parsed([*setting, *values]):
            if OmegaConf.select(config, override.key_or_group, default=_MISSING) is _MISSING:
                return compose([*overrides, *values])  # which says what is wrong, with the nearest key
            OmegaConf.update(config, override.key_or_group, override.value())
        return plain(config)


def with_sweeps(overrides: Sequence[str], *, conf: Path = CONF) -> list[str]:
    """The overrides of a `-m` command after the sweeps that its experiment brings along (`hydra.sweeper.params`)."""
    fixed = [override.text for override in parse_overrides(overrides) if override.sweep is None]
    with _hydra(conf) as hydra_compose:
        params = hydra_compose("config", overrides=fixed, return_hydra_config=True).hydra.sweeper.params
        return brought(params, overrides)


def brought(params: Mapping[str, Any], overrides: Sequence[str]) -> list[str]:
    """The overrides after the sweeps in `params`, save those of keys that were typed."""
    typed = {text.partition("=")[0].lstrip("+~") for text in overrides}
    return [*(f"{key}={value}" for key, value in (params or {}).items() if key not in typed), *overrides]


def forget_composed() -> None:
    """Compose anew what `compose_variant` kept: files may have changed since."""
    _composed.cache_clear()


def quoted(word: str) -> str:
    """A word of the command line for Hydra, in quotes where it would take `retry(2)` for a function of its own, or a
    run's key, or the beginning of one, that looks like a number, as 12e4567890123456, for one."""
    word = re.sub(r"^((?:start|task)\.run=)([0-9a-f]{16})$", r"\1'\2'", word)
    if re.match(r"^task\.runs=\[[0-9a-f, ]+\]$", word):
        return re.sub(r"([0-9a-f]+)(?=[, \]])", r"'\1'", word)
    return re.sub(r"^(\+*study\.on_failure=)(\w+\([^()]*\))$", r"\1'\2'", word)


@functools.lru_cache(maxsize=256)
def _composed(overrides: tuple[str, ...]) -> Any:
    """The whole config for `overrides`, not yet resolved. Whoever changes it takes a copy."""
    refuse_nameless(overrides)
    with _hydra(CONF) as hydra_compose:
        return hydra_compose("config", overrides=list(overrides))


def plain(config: Any) -> dict[str, Any]:
    """A DictConfig as resolved plain data, without Hydra's own part."""
    from omegaconf import OmegaConf

    # The tree under `hydra` is left out before resolving: in a sweeper it holds values that are not there yet.
    keys = [key for key in config if key != "hydra"]
    data = OmegaConf.to_container(OmegaConf.masked_copy(config, keys), resolve=True, throw_on_missing=True)
    assert isinstance(data, dict)
    return {str(key): value for key, value in data.items()}


def parse_overrides(overrides: Sequence[str]) -> list[Override]:
    """Read overrides in Hydra's grammar. Raises `SpecError` for what cannot be read or is not supported."""
    parsed = _parsed(overrides)
    return [Override(key=_key(p), text=text, sweep=_sweep(p)) for p, text in zip(parsed, overrides, strict=True)]


def _parsed(overrides: Sequence[str]) -> list[Any]:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    with explained():
        return OverridesParser.create().parse_overrides(list(overrides))


def value_of(override: str) -> Any:
    """The value that a fixed override sets: `lr.peak=1e-3` 0.001, `data.path='a b'` the text without its quotes."""
    return _parsed([override])[0].value()


def groups(conf: Path = CONF) -> dict[str, list[str]]:
    """Every config group and its options, read from the folders alone."""
    found = {
        folder.name: sorted(f.stem for f in folder.glob("*.yaml"))
        for folder in sorted(conf.iterdir())
        if folder.is_dir()
    }
    return {group: options for group, options in found.items() if options}


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Turn Hydra's and OmegaConf's errors into a `SpecError` of a few plain lines."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error) from error


def explain(error: Exception) -> SpecError:
    """The `SpecError` that says what a Hydra or OmegaConf exception means, with the nearest name that exists."""
    message = str(error)
    typed = getattr(error, "override", None)
    if typed is not None and "missing EQUAL" in message:
        return spec_error(typed, None, "an override is key=value", f"try {typed}=…")
    if typed is not None:
        remedy = "quote overrides that hold parentheses, commas or spaces: 'lr.peak=interval(1e-4, 1e-2)'"
        return spec_error("", None, f"{typed}: cannot be read", remedy)
    if found := re.search(r"Could not find '([\w-]+)/([^']+)'", message):
        group, option = found.groups()
        return spec_error(group, option, "no such option", nearest(option, groups().get(group, [])))
    if found := re.search(r"Could not (?:override|append to config.*?|delete from config\.) '([^']+)'", message):
        key = found.group(1).lstrip("+~")
        missing = getattr(error.__cause__, "full_key", None) or key  # of `a.b.c` it may be `a.b` that is not there
        return spec_error(key, None, "no such key", nearest_key(str(missing), beside=_beside(error)))
    if found := re.search(r"(?:Ambiguous value for argument|Sweep parameters) '([^']+)'", message):
        return spec_error("", None, f"{found.group(1)}: one run takes one value", "add -m to make it a study")
    if found := re.search(r"Multiple values for ([^.]+)\. To override", message):
        return spec_error(found.group(1), None, "is chosen already", f"leave out the +: {found.group(1)}=…")
    key = getattr(error, "full_key", None) or ""
    return spec_error(str(key), None, message.splitlines()[0] if message else type(error).__name__)


def blame_experiment(error: SpecError, overrides: Sequence[str], conf: Path = CONF) -> SpecError:
    """The same error, naming the experiment file that set a key which the chosen option does not have.

    An experiment's fields stay when its group is changed on the command line (`experiment=x attention=mla`).
    """
    from omegaconf import OmegaConf

    names = [text.partition("=")[2] for text in overrides if text.lstrip("+").startswith("experiment=")]
    paths = [path for name in names if (path := conf / "experiment" / f"{name}.yaml").is_file()]
    owners = {key: path for path in paths for key in _keys(cast(dict, OmegaConf.to_container(OmegaConf.load(path))))}
    typed = {text.partition("=")[0].lstrip("+~") for text in overrides}
    return SpecError([_blamed(p, owners.get(p.key) if p.key not in typed else None) for p in error.problems])


def _blamed(problem: Problem, path: Path | None) -> Problem:
    if path is None or "no such key" not in problem.rule:
        return problem
    where = f"conf/experiment/{path.name} sets it"
    return replace(problem, remedy=f"{where}: keep the option that it was written for, or change it there")


def refuse_nameless(overrides: Sequence[str], conf: Path = CONF) -> None:
    """Refuse `lr=3` and `=3`: a group's option has a name. Hydra itself breaks on them with an error of its own."""
    known = groups(conf)
    for override, text in zip(_parsed(overrides), overrides, strict=True):
        key = override.key_or_group
        if not key:
            raise spec_error("", None, f"{text}: has no key", "an override is key=value")
        named = override.is_delete() or override.is_sweep_override() or isinstance(override.value(), (str, dict))
        if key in known and not named:
            written = override.get_value_string()
            raise spec_error(key, written, "is no name of an option", f"try {alternatives(known[key])}")


def nearest_key(key: str, *, beside: Sequence[str] = ()) -> str:
    """The remedy for a misspelt key: the nearest of the keys `beside` it, else of all keys of the default config,
    whole or by its last part."""
    if "@" in key:
        return "the option that is chosen has no such part"
    parent, _, leaf = key.rpartition(".")
    if parent and beside:
        remedy = nearest(leaf, beside)
        return remedy.replace("'", f"'{parent}.", 1) if remedy.startswith("did") else remedy
    known = list(_keys(compose([])))
    same_leaf = [name for name in known if name.rpartition(".")[2] == leaf]
    if same_leaf:
        return f"did you mean '{same_leaf[0]}'?"
    siblings = [name for name in known if name.rpartition(".")[0] == parent]
    return nearest(key, siblings or known)


def _beside(error: Exception) -> list[str]:
    """The keys of the section in which a key was not found, as OmegaConf's part of the error knows it."""
    section = getattr(error.__cause__, "parent_node", None)
    names = list(section) if isinstance(section, Mapping) else []
    return [str(name) for name in names if not str(name).startswith("_")]


def _keys(data: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in data.items():
        if not str(name).startswith("_"):
            yield prefix + str(name)
            if isinstance(value, Mapping):
                yield from _keys(value, f"{prefix}{name}.")


def _key(override: Any) -> str:
    """`ffn@ffn.expert` is another key than `ffn`."""
    return f"{override.key_or_group}@{override.package}" if override.package else override.key_or_group


def _sweep(override: Any) -> Values | Interval | Choice | None:
    """The sweep that a parsed Hydra override describes."""
    from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, RangeSweep

    value = override.value()
    if not override.is_sweep_override():
        return None
    if isinstance(value, ChoiceSweep):
        texts = tuple(override._get_value_element_as_str(item) for item in value.list)
        return Values(texts) if value.simple_form else Choice(texts)
    if isinstance(value, RangeSweep):
        return Values(tuple(str(item) for item in value.range()))
    if isinstance(value, IntervalSweep):
        assert value.start is not None and value.end is not None
        return Interval(float(value.start), float(value.end), log="log" in value.tags, integer=_is_int(value))
    raise spec_error(
        override.key_or_group,
        override.get_value_string(),
        "is no sweep that a study knows",
        "use a,b,c · range(1,4) · interval(…) · tag(log, interval(…)) · choice(a, b)",
    )


def _is_int(interval: Any) -> bool:
    """`int(interval(…))`: Hydra's cast turns both ends into ints."""
    return isinstance(interval.start, int) and isinstance(interval.end, int)
