"""The command ``cascade``: text from outside comes in, library calls go out, results are drawn.

Each group of commands is a module of its own, and ``program`` puts them together. This module loads none of them before
``main`` guards against what may come meanwhile: Ctrl-C, a closed stdout, a package that cannot be imported.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None, name: str = "cascade") -> int:
    """Runs the command.

    Args:
        arguments: What follows the command's name; None for the process's own, which then ends with the command.
        name: What the user calls the command.

    Returns:
        The exit code; see ``cascade.cli.output``.
    """
    from cascade.cli.signals import Signals  # noqa: PLC0415 - first of all, what guards the other imports

    signals = Signals()
    signals.install()
    try:
        from cascade.cli.streams import mend_streams  # noqa: PLC0415 - as above

        problem = mend_streams(is_process=arguments is None)
        if problem:
            return _failed(problem)
        from cascade.cli.program import run  # noqa: PLC0415 - takes a while

        return run(arguments, name, signals)
    except ImportError as error:
        return _failed(_not_installed(error))
    except MemoryError:
        return _failed("There is not enough memory for the program itself. Free some, or raise `ulimit -v`.")
    finally:
        if arguments is not None:
            signals.put_back()


def _not_installed(error: ImportError) -> str:
    from cascade.machine import install_package  # noqa: PLC0415 - seldom needed

    return f"The program cannot be loaded ({error}). Run `{install_package('binary-cascade')}`."


def _failed(problem: str) -> int:
    import sys  # noqa: PLC0415 - seldom needed

    sys.stderr.write(f"error: {problem}\n")
    return 1
