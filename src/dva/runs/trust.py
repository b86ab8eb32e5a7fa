"""Code that stored files name: none of it is imported before the user says so.

A configuration may name tasks, algorithms, simulators and the like as MODULE:NAME, and reading it
means importing MODULE. Whoever types such a name wants that; whoever opens a folder may not know.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from dva.compute.errors import UsageError
from dva.compute.plugins import is_foreign, is_trusted, module_file, module_of, trust

__all__ = ["names_code", "require_trust"]


def require_trust(values: Any, trust_code: bool = False, typed: tuple[str, ...] = ()) -> None:
    """Makes sure that the modules which stored values name may be imported.

    Those that are imported already may, and those of this package.

    Args:
        values: made of mappings, lists and scalars; every text MODULE:NAME counts, wherever it is.
        trust_code: let all of them be imported in this process, from now on.
        typed: names that the user has given, which are trusted therefore.

    Raises:
        UsageError: another module is named; the text says where, and which file would be imported.
    """
    chosen = {module_of(name) for name in typed}
    faults = []
    for where, name in _names(values):
        module = module_of(name)
        if module is None or is_trusted(module):
            continue
        if trust_code or module in chosen:
            trust(module)
            continue
        file = module_file(module)
        would = f"would import {file}" if file else f"would import {module}, which is not found now"
        faults.append(f"{where} is {name!r}, which {would}")
    if faults:
        raise UsageError(
            f"{'; '.join(dict.fromkeys(faults))}. Whoever wrote this file chose that code. If you "
            "trust it, give --trust-code (in Python trust_code=True), in the folder that has it."
        )


def names_code(values: Any) -> bool:
    """Tells whether reading these values in another process would ask for trust."""
    modules = [module_of(name) for _, name in _names(values)]
    return any(module is not None and is_foreign(module) for module in modules)


def _names(values: Any) -> Iterator[tuple[str, str]]:
    """Lists all texts among values with their places, such as ("env.task", "cartpole")."""
    left = [("", values)]
    while left:  # no recursion: files may be nested deeply
        where, value = left.pop()
        if isinstance(value, Mapping):
            below = [(f"{where}.{key}" if where else str(key), x) for key, x in value.items()]
            left += [("a key", key) for key in value if isinstance(key, str)] + below[::-1]
        elif isinstance(value, list | tuple):
            left += [(where, entry) for entry in value]
        elif isinstance(value, str):
            yield where, value
