"""Cascades on a real cluster of several nodes, of which some are killed: every row once, as on one machine."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
import ray
import ray.data

from cascade import Engine, Item
from cascade.cli import main
from cascade.cli.output import ExitCode
from cascade.config.item_rows import ItemRow
from cascade.config.schema import config_from
from cascade.config.toml import write_toml
from cascade.errors import ConfigError, InputError
from cascade.ray import CascadePredictor, by_task, checkpointed, serve_app
from cascade.ray.engines import opened
from cascade.report import Report
from tests.engine.test_beside import ITEMS, TASK, TOLERANCE, tables
from tests.helpers.pages import blocks
from tests.helpers.ray_cluster import RayCluster, ray_cluster

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray's own files and sockets
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
]

PAGE = "cascade/ray/README.md"
N_TASKS, N_ITEMS = 30, 8


def write_tasks(path: Path) -> Path:
    """Tasks with their items, one of which has no name."""
    tasks: list[dict[str, Any]] = [
        {
            "task": f"fix the parser of file {task}",
            "items": [{"id": f"{n}", "name": f"parse_{n}"} for n in range(N_ITEMS)],
        }
        for task in range(4 * N_TASKS)
    ]
    tasks[3]["items"][1].pop("name")
    path.write_text("".join(json.dumps(task) + "\n" for task in tasks), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayCluster]:
    """Two nodes with CPUs, and a head without."""
    with ray_cluster() as found:
        found.add(3)
        yield found


def results_of(path: Path) -> dict[str, dict[str, Any]]:
    """Key -> row of results; each once."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == len({row["key"] for row in rows})
    return {row["key"]: row for row in rows}


def test_a_job_goes_on_on_a_cluster_though_a_node_is_killed(cluster: RayCluster, tmp_path: Path) -> None:
    """Half of the rows are answered here and the rest there; all are those of one machine, each once."""
    tasks, config, out = write_tasks(tmp_path / "tasks.jsonl"), tmp_path / "my.toml", tmp_path / "out.jsonl"
    write_tables(config, tables())
    given = ["run", str(tasks), "--out", str(out), "--config", str(config), "--resume"]
    assert main(given) == ExitCode.DONE
    wanted, lines = results_of(out), out.read_bytes().splitlines(keepends=True)
    assert len(wanted) == 4 * N_TASKS * N_ITEMS
    half = b"".join(lines[: len(lines) // 2])
    out.write_bytes(half)
    doomed = cluster.add(1)

    def kill() -> None:
        while out.stat().st_size == len(half):
            time.sleep(0.005)
        cluster.kill(doomed)

    with ThreadPoolExecutor(1) as threads:
        killed = threads.submit(kill)
        assert main([*given, "--actors", "3", "--ray"]) == ExitCode.DONE
        killed.result(timeout=30)
    found = results_of(out)
    assert found.keys() == wanted.keys()
    for key, row in found.items():
        steps = [each.pop("steps", []) for each in (row, wanted[key])]
        assert row == wanted[key]
        p_yes = [[step["p_yes"] for step in own] for own in steps]
        assert p_yes[0] == pytest.approx(p_yes[1], abs=TOLERANCE)


def test_options_that_need_a_cluster_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``--actors`` goes with ``--ray``, and ``--log`` does not."""
    given = ["run", str(write_tasks(tmp_path / "tasks.jsonl")), "--out", str(tmp_path / "out.jsonl")]
    for more, words in ((["--actors", "2"], "Add --ray."), (["--ray", "--log", "log.db"], "--log has one writer")):
        assert main([*given, *more]) == ExitCode.BAD_INPUT
        assert words in capsys.readouterr().err


def test_what_a_node_cannot_open_is_said(cluster: RayCluster) -> None:
    """A missing file and an unknown cascade end the job with their own sentences."""
    assert cluster.address
    lost = tables()
    lost["adapters"] = {"relevant": "/nowhere/nothing.gguf"}
    with pytest.raises(InputError, match=r"nothing\.gguf"), opened(config_from(lost), "precision", n_actors=1):
        pass
    with pytest.raises(InputError, match="Unknown cascade 'nobody'"), opened(config_from(tables()), "nobody"):
        pass
    with pytest.raises(InputError, match="n_actors"), opened(config_from(tables()), "precision", n_actors=0):
        pass


class Waiting(CascadePredictor):
    """Writes down its node, and answers no second batch before the file ``killed`` is there."""

    def __init__(self, folder: str, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._folder, self._n = Path(folder), 0

    def __call__(self, batch: Any) -> Any:
        """See ``CascadePredictor``."""
        node = ray.get_runtime_context().get_node_id()
        self._n += 1
        (self._folder / f"{node}.{self._n}").touch()
        while self._n > 1 and not (self._folder / "killed").exists():
            time.sleep(0.05)
        found = super().__call__(batch)
        return found.append_column("batch", pa.array([f"{node}.{self._n}"] * found.num_rows))


def flat() -> list[dict[str, Any]]:
    """Rows of one item each, in an order in which tasks are apart; one row has no name."""
    rows = [
        {"key": f"{task}/{item}", "task": f"task {task}", "id": f"{item}", "name": f"name_{task}_{item}"}
        for item in range(N_ITEMS)
        for task in range(N_TASKS)
    ]
    return [row | {"name": None} if row["key"] == "3/1" else row for row in rows]


def predicted() -> dict[str, dict[str, Any]]:
    """Key -> row, as one machine predicts them."""
    predictor = CascadePredictor(tables())
    found = predictor(pa.Table.from_pylist(flat())).to_pylist()
    predictor.close()
    return {row["key"]: row for row in found}


def same_rows(found: list[dict[str, Any]], wanted: dict[str, dict[str, Any]]) -> None:
    """Each row once, and as it is wanted."""
    assert sorted(row["key"] for row in found) == sorted(wanted)
    for got in found:
        for name, value in wanted[got["key"]].items():
            if name == "error":  # it says at which place of the batch the row stood
                assert (got[name] is None) == (value is None)
                continue
            close = pytest.approx(value, abs=TOLERANCE) if isinstance(value, float) else value
            assert got[name] == close, (got, name)


def test_a_dataset_has_each_row_once_though_a_node_is_killed(cluster: RayCluster, tmp_path: Path) -> None:
    """Batches of the lost node are asked again, by another; the rows of a task come in one batch."""
    doomed = cluster.add(2)
    rows = by_task(ray.data.from_items(flat(), override_num_blocks=6))

    def kill() -> None:
        nodes: set[str] = set()
        while len(nodes) < 2 or doomed.node_id not in nodes:
            nodes = {each.name.split(".")[0] for each in tmp_path.glob("*.2")}
            time.sleep(0.05)
        cluster.kill(doomed)
        (tmp_path / "killed").touch()

    arguments = CascadePredictor.arguments(tables()) | {"num_cpus": 0.5}  # so that one node has room for all
    arguments["fn_constructor_args"] = (str(tmp_path), *arguments["fn_constructor_args"])
    with ThreadPoolExecutor(1) as threads:
        killed = threads.submit(kill)
        found = rows.map_batches(Waiting, compute=ray.data.ActorPoolStrategy(size=2), **arguments).take_all()
        killed.result(timeout=30)
    same_rows([{name: value for name, value in row.items() if name != "batch"} for row in found], predicted())
    batches = {(row["task"], row["batch"]) for row in found}
    assert len(batches) == N_TASKS


def test_checkpoints_leave_away_what_is_written(cluster: RayCluster, tmp_path: Path) -> None:
    """A second run over more files adds the rows that are new, and none twice."""
    assert cluster.address
    given, out = tmp_path / "in", tmp_path / "out"
    given.mkdir()
    rows = flat()[:60]

    def run() -> int:
        found = checkpointed(ray.data.read_json(str(given)), str(tmp_path / "done"), "key")
        arguments = CascadePredictor.arguments(tables()) | {"num_cpus": 0.5}
        found = found.map_batches(CascadePredictor, concurrency=1, **arguments)
        found.write_json(str(out))
        return sum(len(file.read_text().splitlines()) for file in out.glob("*.json"))

    for number, part in enumerate((rows[:20], rows[20:])):
        (given / f"{number}.json").write_text("".join(json.dumps(row) + "\n" for row in part))
        assert run() == (20, 60)[number]
    written = [json.loads(line) for file in out.glob("*.json") for line in file.read_text().splitlines()]
    assert sorted(each["key"] for each in written) == sorted(each["key"] for each in rows)
    assert all(each["label"] or each["error"] for each in written)


def run_program(number: int) -> dict[str, Any]:
    """What a program of the page leaves."""
    known: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(blocks(PAGE, "python")[number], PAGE, "exec"), known)  # noqa: S102 - the page's own code
    return known


def test_the_program_of_datasets_runs(cluster: RayCluster, capsys: pytest.CaptureFixture[str]) -> None:
    """That of the page, as it stands: four rows, of which one has no name."""
    assert cluster.address
    run_program(0)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith(("fix the", "cache answers"))]
    assert len(rows) == 4
    assert sum("field 'name'" in line for line in rows) == 1


@pytest.fixture(scope="module")
def service(cluster: RayCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str, Path]]:
    """An application with two models beside the config's own, of which one is in memory at once."""
    from ray import serve  # noqa: PLC0415 - takes a while

    assert cluster.address
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("models")
    for name, other in {"acme": "primary", "globex": "metadata"}.items():
        write_tables(folder / f"{name}.toml", tables(relevant=other))
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    handle = serve.run(serve_app(tables(), folder, max_models_per_replica=1), route_prefix="/")
    yield handle, f"http://127.0.0.1:{port}", folder
    serve.shutdown()


def alone(relevant: str) -> Report:
    """What an engine of a model's own says."""
    with Engine.open(tables(relevant=relevant)) as engine:
        return engine.classify(TASK, ITEMS, budget=None)


def same_answers(found: dict[str, Any], wanted: Report) -> None:
    """A report over HTTP is that of an engine of its own."""
    assert found["provenance"]["adapters"] == wanted.provenance.adapters
    for got, decision in zip(found["decisions"], wanted.decisions, strict=True):
        p_yes = [step["p_yes"] for step in got["steps"]], [step.p_yes for step in decision.steps]
        assert p_yes[0] == pytest.approx(p_yes[1], abs=TOLERANCE)


def test_each_model_id_is_answered_by_its_own_adapters(service: tuple[Any, str, Path]) -> None:
    """Requests for three models at once, of which two are in memory, get the answers of three engines."""
    handle, url, _ = service
    wanted = {"": alone("relevant"), "acme": alone("primary"), "globex": alone("metadata")}
    body = {"task": TASK.text, "seeds": TASK.seeds, "items": [row(item) for item in ITEMS]}

    def ask(name: str) -> tuple[str, httpx.Response]:
        headers = {"serve_multiplexed_model_id": name} if name else {}
        return name, httpx.post(f"{url}/v1/cascades/precision", json=body, headers=headers, timeout=60)

    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(ask, [*wanted] * 4))
    for name, answer in answers:
        assert answer.status_code == 200, answer.text
        same_answers(answer.json(), wanted[name])
    report = handle.options(multiplexed_model_id="acme").classify.remote(TASK, ITEMS).result()
    same_answers(report.as_dict(), wanted["acme"])


def test_what_the_service_answers_goes_through_as_it_is(service: tuple[Any, str, Path]) -> None:
    """Streams, other endpoints and refusals are those of ``cascade serve``; an unknown model is not found."""
    _, url, folder = service
    body, of_acme = {"task": "fix it", "items": [{"id": "1", "name": "a"}]}, {"serve_multiplexed_model_id": "acme"}
    call = f"{url}/v1/cascades/precision"
    streamed = httpx.post(call, json=body, headers={**of_acme, "accept": "application/x-ndjson"}, timeout=60)
    assert [set(json.loads(line)) >= {"id"} for line in streamed.text.splitlines()] == [True, False]
    assert httpx.get(f"{url}/v1/models", headers=of_acme).json()["data"]
    assert httpx.post(call, json={"task": ""}, headers=of_acme).status_code == 422
    for name in ("nobody", "../acme", str(folder / "acme")):
        lost = httpx.post(call, json=body, headers={"serve_multiplexed_model_id": name})
        assert (lost.status_code, lost.json()["title"]) == (404, "Not Found")


def test_a_new_model_needs_no_new_deployment(service: tuple[Any, str, Path]) -> None:
    """A file that comes into the folder is a model from then on; one that does not fit is refused with its reason."""
    handle, _, folder = service
    write_tables(folder / "initech.toml", tables(relevant="supporting"))
    found = handle.options(multiplexed_model_id="initech").classify.remote(TASK, ITEMS).result()
    same_answers(found.as_dict(), alone("supporting"))
    write_tables(folder / "other.toml", tables() | {"model": {"n_ctx": 2048}})
    with pytest.raises(ConfigError, match="other base models"):
        handle.options(multiplexed_model_id="other").classify.remote(TASK, ITEMS).result()


def test_the_program_of_serve_runs(service: tuple[Any, str, Path]) -> None:
    """That of the page, as it stands."""
    assert service
    asked = run_program(2)["asked"].result()
    assert sum(asked.labels().values()) == 2


@pytest.mark.parametrize("given", [{"max_models_per_replica": 0}, {"models": 7}])
def test_wrong_arguments_of_an_application_are_refused(given: dict[str, Any]) -> None:
    """Before anything is deployed."""
    with pytest.raises(InputError, match=next(iter(given))):
        serve_app(tables(), **given)


def write_tables(path: Path, given: dict[str, Any]) -> None:
    """Tables as the config file that says the same."""
    write_toml(given, path, "A model.")


def row(item: Item) -> dict[str, Any]:
    """An item as a body has it."""
    group = {"name": item.group.name, "evidence": item.group.evidence} if item.group else None
    return {name: getattr(item, name) for name in ItemRow.model_fields if name != "group"} | {"group": group}
