# SPDX-License-Identifier: Apache-2.0
"""Every value of a spec that names something outside it, checked before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from simsparse.config.axes import ROWS, Axis, Choices
from simsparse.config.experiment import Experiment
from simsparse.config.keys import OPTION, OVERRIDE, Scalar
from simsparse.config.paths import find_part
from simsparse.config.ranges import Range
from simsparse.config.run_spec import folder
from simsparse.config.sweep import SweepSpec
from simsparse.config.yaml import Document, KeyPath
from simsparse.errors import SpecError, nearest
from simsparse.lowering.stacks import stack_of
from simsparse.paths import find_file
from simsparse.policies import policy_of
from simsparse.sweep.inputs import SystemInput
from simsparse.sweep.point import PointRun, Resolver

LOOKUPS: Mapping[str, Callable[[str], object]] = {"policy": policy_of, "stack": stack_of}
"""What finds the thing that a key's value names; it raises SpecError where there is none."""


@dataclass
class Names:
    """What the names in a spec stand for, found while checking: trace files, and systems as they were loaded."""

    document: Document
    files: dict[str, str] = field(default_factory=dict)
    systems: dict[str, SystemInput] = field(default_factory=dict)

    def check(self, path: KeyPath, key: str, value: Scalar) -> None:
        """Check one value that stands at ``path``. Raises SpecError that names file and line."""
        try:
            if key == "workload.trace":
                self._trace(str(value))
            elif key == "system":
                self._system(str(value))
            elif key in LOOKUPS:
                LOOKUPS[key](str(value))
        except SpecError as error:
            if error.file is not None:
                raise
            raise self.document.error(path, error.message) from None

    def _trace(self, name: str) -> None:
        self.files[name] = str(find_file(name, folder(self.document)).resolve())

    def _system(self, name: str) -> None:
        if name not in self.systems:
            self.systems[name] = SystemInput.load(find_part(name, folder(self.document)))


@dataclass(frozen=True)
class _Setter:
    """A group of values that hold together: the top of a spec, or one item of an axis."""

    values: Mapping[str, Scalar]
    place: Callable[[str], KeyPath]
    axis: Axis | None = None


def check_experiment(experiment: Experiment, document: Document) -> PointRun:
    """The run of an experiment, every name, option and override checked. Raises SpecError."""
    values, names = experiment.values, Names(document)
    _check(names, values, (), [_Setter(values, _top)])
    return Resolver(experiment.exclude, names.files, names.systems).run(values)


def check_sweep(spec: SweepSpec) -> Names:
    """The names in a sweep, after every value of every axis has been checked. Raises SpecError."""
    names = Names(spec.document)
    _check(names, spec.base, spec.axes, [_Setter(spec.base, _top), *_setters(spec)])
    _check_known(names, spec)
    return names


def _check_known(names: Names, spec: SweepSpec) -> None:
    """Raises SpecError when a search would make small, or a constraint limit, what a system does not state."""
    wanted: list[tuple[KeyPath, str]] = [
        (("objectives", i), name) for i, name in enumerate(spec.sweep.objectives) if spec.evolves
    ]
    wanted += [(("constraints", name), name) for name in spec.sweep.constraints]
    for path, name in wanted:
        for system in sorted(names.systems):
            if name in ("area_mm2", "power_w") and getattr(names.systems[system].system, name) is None:
                raise spec.document.error(
                    path, f"{name} of {system} is not known, so that no point of it can be ranked"
                )


def _check(names: Names, base: Mapping[str, Scalar], axes: Sequence[Axis], setters: Sequence[_Setter]) -> None:
    for setter in setters:
        for key, value in setter.values.items():
            names.check(setter.place(key), key, value)
    for setter in setters:
        for key, value in setter.values.items():
            if key.startswith(OVERRIDE):
                _check_override(names, setter, key, str(value), possible_values(setter, "system", base, axes))
            elif key.startswith(OPTION):
                policies = possible_values(setter, "policy", base, axes)
                _check_option(names.document, setter.place(key), key.removeprefix(OPTION), policies)


def _setters(spec: SweepSpec) -> Iterator[_Setter]:
    for axis in spec.axes:
        if isinstance(axis, Choices):
            for i, item in enumerate(axis.items):
                yield _Setter(item, _item_place(axis, i), axis)
        else:
            for end, value in (("low", axis.low), ("high", axis.high)):
                yield _Setter({axis.name: axis.value(value)}, _end_place(axis.name, end), axis)


def _top(key: str) -> KeyPath:
    """Where a key of an experiment stands; the dots of an override belong to its path."""
    return tuple(key.split(".", 1))


def _item_place(axis: Choices, i: int) -> Callable[[str], KeyPath]:
    if axis.name == ROWS:
        return lambda key: (ROWS, i, key)
    return lambda key: ("axes", axis.name, i, key) if axis.named else ("axes", axis.name, i)


def _end_place(name: str, end: str) -> Callable[[str], KeyPath]:
    return lambda _: ("axes", name, end)


def possible_values(setter: _Setter, key: str, base: Mapping[str, Scalar], axes: Sequence[Axis]) -> list[str]:
    """Possible values of ``key`` in the points that this setter creates."""
    if key in setter.values:
        return [str(setter.values[key])]
    for axis in axes:
        if axis is not setter.axis and isinstance(axis, Choices) and key in axis.keys:
            when = dict(setter.axis.when) if isinstance(setter.axis, Range) else {}
            wanted = when.get(axis.name, tuple(map(str, axis.labels)))
            chosen = (item for item, label in zip(axis.items, axis.labels, strict=True) if str(label) in wanted)
            return sorted({str(item.get(key, base.get(key))) for item in chosen})
    return [str(base[key])] if key in base else []


def _check_override(names: Names, setter: _Setter, key: str, text: str, systems: list[str]) -> None:
    for system in systems:
        try:
            names.systems[system].system.with_overrides({key.removeprefix(OVERRIDE): text})
        except SpecError as error:
            raise names.document.error(setter.place(key), f"{error.message} (in {system})") from None


def _check_option(document: Document, place: KeyPath, name: str, policies: list[str]) -> None:
    from simsparse.policies import option_names

    for policy in policies:
        known = option_names(policy)
        if name not in known:
            raise document.error(place, f"{name!r} is no option of the policy {policy}; {nearest(name, known)}")
