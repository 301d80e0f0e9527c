"""Which file an import means: names followed to where they are defined, within one repository. Pure."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping

from cascade.repository.languages import PYTHON, SCRIPTS
from cascade.repository.outline import Import, Outline

_LAYOUTS = ("src", "lib", "python")
_LOOSE_LAYOUTS = frozenset({"src", "lib"})  # a module may lie in these without a package
_INIT = "__init__.py"
_EMPTY = Outline()


class ImportGraph:
    """The imports among the files of a repository.

    Args:
        paths: All files, those that come first winning where two have one module name.
        outlines: What is known of them; a file without an outline can be imported but imports nothing.
        package: Dotted name of the root folder, where the root itself is a package.
    """

    def __init__(self, paths: Collection[str], outlines: Mapping[str, Outline], package: str = "") -> None:
        self._paths = frozenset(paths)
        self._outlines = outlines
        self._targets: dict[str, frozenset[str]] = {}  # found once, and asked for by every seed
        self._modules: dict[str, str] = {}
        self._by_name: dict[str, list[str]] = defaultdict(list)
        self._found: dict[tuple[str, int, str], str | None] = {}  # what importers of one folder mean by a module
        self._defined: dict[tuple[str, str], str | None] = {}
        for path in paths:
            self._by_name[posixpath.basename(path)].append(path)
            if path.endswith(PYTHON):
                for module in _module_names(path, self._paths, package):
                    self._modules.setdefault(module, path)

    def targets(self, path: str) -> frozenset[str]:
        """The files that a file imports, without itself; re-exports followed to the definition."""
        if path not in self._targets:
            find = self._python if path.endswith(PYTHON) else self._beside
            found = {find(path, one) for one in self._outline(path).imports}
            self._targets[path] = frozenset(target for target in found if target and target != path)
        return self._targets[path]

    def _outline(self, path: str) -> Outline:
        return self._outlines.get(path, _EMPTY)

    def _python(self, path: str, one: Import) -> str | None:
        target = self._module(path, one.level, one.module)
        if not one.name:
            return target
        if target is None:  # a namespace package has no file of its own, its modules have
            return self._module(path, one.level, _joined(one))
        if one.name == "*":
            return target
        if (target, one.name) not in self._defined:
            self._defined[target, one.name] = self._definition(target, one.name, set()) or target
        return self._defined[target, one.name]

    def _module(self, importer: str, level: int, module: str) -> str | None:
        key = (importer.rpartition("/")[0], level, module)
        if key not in self._found:
            self._found[key] = self._looked_up(importer, level, module)
        return self._found[key]

    def _looked_up(self, importer: str, level: int, module: str) -> str | None:
        if level == 0:
            return self._modules.get(module) or (self._sibling(importer, module) if "." not in module else None)
        base = importer.split("/")[:-level]
        if level > importer.count("/") + 1:
            return None
        where = "/".join([*base, *(module.split(".") if module else [])])
        choices = (f"{where}.py", posixpath.join(where, _INIT))
        return next((choice for choice in choices if choice in self._paths), None)

    def _sibling(self, importer: str, module: str) -> str | None:
        """The script beside a script: a folder without a package is on the path of what it runs."""
        folder = importer.rpartition("/")[0]
        path = posixpath.join(folder, f"{module}.py")
        return path if path in self._paths and posixpath.join(folder, _INIT) not in self._paths else None

    def _submodule(self, package: str, name: str) -> str | None:
        folder, _, base = package.rpartition("/")
        choices = (posixpath.join(folder, f"{name}.py"), posixpath.join(folder, name, _INIT))
        return next((choice for choice in choices if base == _INIT and choice in self._paths), None)

    def _definition(self, path: str, name: str, seen: set[tuple[str, str]]) -> str | None:
        """The file that defines a name of a module, or the submodule of that name."""
        if (path, name) in seen:
            return None
        seen.add((path, name))
        outline = self._outline(path)
        if name in outline.tops or name in outline.names:
            return path
        bound = next((one for one in outline.imports if one.name != "*" and one.bound == name), None)
        if bound:
            return self._bound(path, bound, seen)
        for one in outline.imports:
            target = self._module(path, one.level, one.module) if one.name == "*" else None
            found = self._definition(target, name, seen) if target else None
            if found:
                return found
        return self._submodule(path, name)

    def _bound(self, path: str, one: Import, seen: set[tuple[str, str]]) -> str | None:
        """The file that defines what an import statement binds."""
        if not one.name:  # `import a.b` binds a, `import a.b as c` binds b
            return self._module(path, 0, one.module if one.alias else one.bound)
        target = self._module(path, one.level, one.module)
        if target is None:
            return self._module(path, one.level, _joined(one))
        return self._definition(target, one.name, seen) or self._submodule(target, one.name)

    def _beside(self, path: str, one: Import) -> str | None:
        """The file of a relative script import or of a C include."""
        near = posixpath.normpath(posixpath.join(posixpath.dirname(path), one.module))
        if posixpath.splitext(path)[1] in SCRIPTS:
            return next((choice for choice in _script_choices(near) if choice in self._paths), None)
        far = [near, one.module, f"include/{one.module}", f"src/{one.module}"]
        named = self._by_name.get(posixpath.basename(one.module), [])
        ends = [other for other in named if other.endswith(f"/{one.module}")]
        found = next((choice for choice in far if choice in self._paths), None)
        return found or (ends[0] if len(ends) == 1 else None)


def _joined(one: Import) -> str:
    return f"{one.module}.{one.name}".strip(".")


def _module_names(path: str, paths: Collection[str], package: str) -> Iterator[str]:
    """The dotted names a file can be imported by, the likeliest first."""
    *folders, base = path.removesuffix(PYTHON).split("/")
    parts = folders if base == "__init__" else [*folders, base]
    if package:
        yield ".".join([package, *parts])
    if not parts:
        return
    top = len(folders)
    while top > 0 and "/".join([*folders[:top], _INIT]) in paths:
        top -= 1
    names = [parts[top:]]
    if parts[0] in _LAYOUTS:
        names.append(parts[1:])
    names.append(parts)
    for name in names:  # a lone script deep in the tree is no importable top-level module
        is_lone = len(name) == 1 and base != "__init__" and folders and folders[0] not in _LOOSE_LAYOUTS
        if name and not is_lone:
            yield ".".join(name)


def _script_choices(near: str) -> Iterator[str]:
    yield near
    stem, suffix = posixpath.splitext(near)
    bases = [near, *([stem] if suffix in SCRIPTS else []), f"{near}/index"]  # "./a.js" may mean a.ts
    yield from (f"{base}{one}" for base in bases for one in SCRIPTS)
